//! Every standard command of the guest agent, one file a family.

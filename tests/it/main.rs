//! Protocol and process tests, one module a family, in one binary.

//! The contract: what a sandbox gets (`waga:extension`), every command as a typed function (`waga:guest`), and the schema that is made of
//! them.

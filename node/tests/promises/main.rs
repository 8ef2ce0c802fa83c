//! The promises of the node's library, one module each; the list of modules is the list of promises.

mod table_model;

//! The promises of the core, without disk: tables of cases, and random histories against a naive model.

mod actions;
mod closing;
mod creating;
mod expiring;
mod forking;
mod histories;
mod linking;
mod model;
mod producing;
mod residing;
mod subscribing;
mod tables;
mod world;

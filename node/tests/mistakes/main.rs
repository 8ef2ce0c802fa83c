//! Mistakes that other servers made, and does not this one: a whole node each (engine and HTTP) on a loopback port and a
//! directory of its own. The names of the tests are the promises; docs/promises.md says which mistake each belongs to.

#[cfg(test)]
mod costs;
#[cfg(test)]
mod crashing;
#[cfg(test)]
mod lifetimes;
#[cfg(test)]
mod naming;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod world;

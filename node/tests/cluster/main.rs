//! Nodes of a cluster in one process, over real sockets of the loopback interface and simulated disks: what only whole
//! nodes show, without processes.

#[cfg(test)]
mod acknowledging;
#[cfg(test)]
mod errands;
#[cfg(test)]
mod following;
#[cfg(test)]
mod founding;
#[cfg(test)]
#[path = "../promises/free_address.rs"]
mod free_address;
#[cfg(test)]
#[path = "../promises/gated_disk.rs"]
#[expect(dead_code, reason = "the promises use all of it")]
mod gated_disk;
#[cfg(test)]
mod handing_over;
#[cfg(test)]
mod hostile_orders;
#[cfg(test)]
mod hostile_peers;
#[cfg(test)]
mod large;
#[cfg(test)]
mod member;
#[cfg(test)]
mod power;
#[cfg(test)]
#[path = "../links/raw.rs"]
#[allow(dead_code, reason = "the tests of links need more of it")]
mod raw;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod sickness;
#[cfg(test)]
mod taking_over;
#[cfg(test)]
mod world;

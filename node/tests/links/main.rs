//! The promises of the links between nodes, one module each, over real sockets of the loopback interface.

#[cfg(test)]
mod lessons;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod seeding;
#[cfg(test)]
mod shipping;
#[cfg(test)]
mod strangers;
#[cfg(test)]
mod world;

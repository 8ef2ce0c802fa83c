//! Promise: no damage to a file makes the tables serve a wrong byte, an older state or an empty answer.

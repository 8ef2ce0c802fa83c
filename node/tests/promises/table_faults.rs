//! Promise: a failing device gives an error, never a wrong answer, and loses no acknowledged checkpoint.

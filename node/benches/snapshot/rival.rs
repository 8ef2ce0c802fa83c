//! The crate `surrealmx` beside us: a program of its own (`e2e/rivals/surrealmx`) that is told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The variable that says where the program is.
pub(crate) const VARIABLE: &str = "TEST_RIVAL_SURREALMX";

pub(crate) struct Rival {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Rival {
    /// Starts it with so many keys of so many bytes, if it is there.
    pub(crate) fn start(folder: &Path, keys: u64, value_bytes: usize) -> Option<Self> {
        let program = std::env::var(VARIABLE).ok()?;
        let mut command = Command::new(program);
        command.arg(folder).args([keys.to_string(), value_bytes.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut rival = Self { child, orders, answers };
        assert_eq!(rival.line(), "ready");
        Some(rival)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// How long it took, and the bytes of the file.
    pub(crate) fn ask(&mut self, order: &str) -> (Duration, u64) {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{order}").unwrap();
        orders.flush().unwrap();
        let line = self.line();
        let (micros, bytes) = line.split_once(' ').unwrap();
        (Duration::from_micros(micros.parse().unwrap()), bytes.parse().unwrap())
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It ends with its input.
        self.orders = None;
        let _ended = self.child.wait();
    }
}

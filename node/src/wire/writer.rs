//! The thread that writes on a connection, as long as there is anything to be written; then it sleeps.

use super::line::Line;
use super::pen::Pen;

/// Writes until the connection ends.
pub(super) fn write(line: &Line, pen: Pen) {
    line.set_pen(Some(pen));
    while line.is_open() {
        // What is put in from now on rings.
        line.bell.look();
        let turn = line.with_pen(|pen| match pen.turn(line)? {
            true => Ok(None),
            false => pen.patience(line).map(Some),
        });
        match turn {
            Ok(None) => {}
            Ok(patience) => line.bell.sleep(patience),
            Err(why) => line.close(why),
        }
    }
    line.set_pen(None);
}

//! What is said while it runs: on the error output, so that the table alone is on the other.

use std::io::Write as _;

/// Says a line.
pub(crate) fn say(line: &str) {
    // Whoever reads it has gone: nobody left to tell.
    let _gone = writeln!(std::io::stderr().lock(), "{line}");
}

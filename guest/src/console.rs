//! The console: few lines, for the case that nothing else can tell what went wrong. The host keeps its output
//! and shows it when a start fails.

use std::io::Write;

pub fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "flamebox-agent: {message}");
}

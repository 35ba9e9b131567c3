//! Runs one helper program to its end: a clean environment, a deadline, and its complaint as the error.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits;

/// Why a program did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("{program} could not be started ({error}): is it installed?")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// It ended with an error.
    #[error("{program}: {complaint}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it printed.
        complaint: String,
    },
    /// It did not end in time, and was killed.
    #[error("{program} took over {} s", limits::PROGRAM_DEADLINE.as_secs())]
    Deadline {
        /// Its name.
        program: &'static str,
    },
}

/// Where helper programs are looked for; the agent's own environment has no say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `program` with `input` on its standard input; what it printed.
pub async fn run(
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, ProgramError> {
    let work = run_without_deadline(program, arguments, input);
    // Dropping the future kills the program.
    timeout(limits::PROGRAM_DEADLINE, work).await.map_err(|_| ProgramError::Deadline { program })?
}

async fn run_without_deadline(
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, ProgramError> {
    let start_error = |error| ProgramError::Start { program, error };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        // Complaints are matched by their text.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start_error)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading its input says why by its status.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let (status, (), printed, complaint) =
        tokio::join!(child.wait(), feed, read_some(stdout), read_some(stderr));
    let status = status.map_err(start_error)?;
    if status.success() {
        return Ok(printed);
    }
    let complaint = match complaint.trim() {
        "" => status.to_string(),
        text => text.chars().take(limits::REASON_BYTES_MAX).collect(),
    };
    Err(ProgramError::Failed { program, complaint })
}

/// Reads up to the bound and throws the rest away, so that a talkative program never waits for its reader.
async fn read_some(source: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(source) = source {
        let mut head = source.take(limits::PROGRAM_OUTPUT_BYTES_MAX);
        let _ = head.read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut head.into_inner(), &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_returned_and_input_is_given() {
        assert_eq!(run("cat", &[], "hello").await.unwrap(), "hello");
        let talkative = run("head", &["-c", "200000", "/dev/zero"], "").await.unwrap();
        assert_eq!(u64::try_from(talkative.len()).unwrap(), limits::PROGRAM_OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn complaint_of_the_program_is_the_error() {
        let error = run("sh", &["-c", "echo no way >&2; exit 3"], "").await.unwrap_err();
        assert_eq!(error.to_string(), "sh: no way");
        let error = run("weft-no-such-program", &[], "").await.unwrap_err();
        assert!(matches!(error, ProgramError::Start { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn program_that_never_ends_is_killed() {
        let error = run("sleep", &["1000"], "").await.unwrap_err();
        assert!(matches!(error, ProgramError::Deadline { .. }));
    }
}

//! A Python environment with the AutoGen of `tests/autogen/requirements.txt`, made once and kept under `target/tmp`.
//!
//! The rule: a test that needs it fails with what to install, it is never skipped. The directory's name holds a hash of the requirements and
//! of the interpreter, so a change of either makes a new one; a locked file keeps processes that run side by side from making it twice.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use sha2::{Digest as _, Sha256};

const REQUIREMENTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/autogen/requirements.txt"
);
const INSTALL: &str = "The AutoGen tests need python3 (3.10 or newer) with venv and pip. On Debian: apt-get install python3 python3-venv";

/// Runs a script, but prints where it stands and exits when it has not ended after two minutes.
const BOUNDED: &str = "\
import faulthandler, runpy, sys
faulthandler.dump_traceback_later(120, exit=True)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')";

/// Where the Python programs of the tests lie.
pub(crate) fn programs() -> PathBuf {
    Path::new(REQUIREMENTS).with_file_name("")
}

/// The environment's interpreter; the first caller waits until it is installed.
pub(crate) fn interpreter() -> &'static Path {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match MADE.get_or_init(make) {
        Ok(path) => path,
        Err(why) => panic!("{why}"),
    }
}

/// Runs a script to its end and gives what it printed; one that fails, fails the test with what it said.
pub(crate) async fn run(script: PathBuf, words: Vec<String>) -> String {
    let ended = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(interpreter());
        command.args(["-c", BOUNDED]).arg(&script).args(words);
        command
            .env("PYTHONPATH", programs())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUTF8", "1");
        command
            .env("OPENAI_API_KEY", "sk-test")
            .env_remove("OPENAI_BASE_URL");
        command
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        let output = command.output().expect("the interpreter was just made");
        assert!(
            output.status.success(),
            "{} failed: {}",
            script.display(),
            said(&output)
        );
        String::from_utf8(output.stdout).expect("Python was told to print UTF-8")
    });
    ended.await.expect("the script succeeded")
}

fn make() -> Result<PathBuf, String> {
    let base = python(
        "python3",
        [
            "-c",
            "import sys; assert sys.version_info >= (3, 10), 'it is older than 3.10'; print(sys.executable, sys.version)",
        ],
    )?;
    let requirements = fs::read(REQUIREMENTS).map_err(|e| format!("{REQUIREMENTS}: {e}"))?;
    let digest = Sha256::new()
        .chain_update(&base.stdout)
        .chain_update(requirements)
        .finalize();
    let name = digest[..8]
        .iter()
        .fold(String::from("autogen-"), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        });
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (interpreter, whole) = (directory.join("bin/python"), directory.join("whole"));
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());

    let lock = File::create(directory.with_extension("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?; // released when it is closed, however this process ends
    if !whole.exists() {
        python(
            "python3",
            [
                "-m".as_ref(),
                "venv".as_ref(),
                "--clear".as_ref(),
                directory.as_os_str(),
            ],
        )?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "-r",
            REQUIREMENTS,
        ];
        python(&interpreter, pip)?;
        fs::write(&whole, "").map_err(failed)?;
    }
    Ok(interpreter)
}

fn python<W: AsRef<OsStr>>(
    interpreter: impl AsRef<OsStr>,
    words: impl IntoIterator<Item = W>,
) -> Result<Output, String> {
    let mut command = Command::new(interpreter);
    command.args(words);
    match command.output() {
        Ok(output) if output.status.success() => Ok(output),
        Ok(output) => Err(format!("{INSTALL}\n{command:?} failed: {}", said(&output))),
        Err(e) => Err(format!("{INSTALL}\n{command:?}: {e}")),
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

//! Loads configurations and checks values, problems and warnings.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::*;

mod rules;
mod shipped;
mod sources;
mod values;

struct Loaded {
    directory: TempDir,
    result: Result<(Config, Vec<ConfigWarning>), ConfigProblems>,
}

impl Loaded {
    fn config(&self) -> &Config {
        match &self.result {
            Ok((config, _)) => config,
            Err(problems) => panic!("{problems}"),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let (_, warnings) = self.result.as_ref().unwrap();
        warnings
            .iter()
            .map(|warning| self.without_directory(&warning.to_string()))
            .collect()
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.result.as_ref().expect_err("was valid");
        assert_eq!(
            problems.to_string().lines().count(),
            problems.iter().count(),
            "one line each"
        );
        problems
            .iter()
            .map(|problem| self.without_directory(&problem.to_string()))
            .collect()
    }

    fn without_directory(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

/// Loads from a file `s.toml` in a directory of its own; `DIR` in it stands for the directory.
fn load(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
    load_beside(&[], toml, environment, flags)
}

fn load_beside(
    files: &[(&str, &str)],
    toml: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Loaded {
    let directory = TempDir::new().unwrap();
    let own = |text: &str| text.replace("DIR", &directory.path().display().to_string());
    for (name, content) in files
        .iter()
        .copied()
        .chain([("s.toml", own(toml).as_str())])
    {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        only_for_the_owner(&path);
    }
    let sources = Sources {
        file: None,
        default_file: directory.path().join("s.toml"),
        environment: environment
            .iter()
            .map(|(name, value)| (name.into(), own(value).into()))
            .collect(),
        flags: flags
            .iter()
            .map(|(name, value)| ((*name).to_owned(), own(value)))
            .collect(),
    };
    Loaded {
        result: Config::load(&sources),
        directory,
    }
}

#[cfg(unix)]
fn only_for_the_owner(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn only_for_the_owner(_: &Path) {}

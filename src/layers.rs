//! Checks that modules depend on each other as `lib.rs` says: its table lists them from the ground floor up, and a module uses only those
//! that the table has before it. Also, that `lib.rs` and README.md draw the same and name files that are there.

mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Dependencies that the order of the table would allow and the architecture does not: a module, and the module or crate it must not use.
const FORBIDDEN: [(&str, &str); 5] = [
    ("proxy", "runs"),
    ("proxy", "store"),
    ("runs", "http"),
    ("runs", "hyper"),
    ("export", "openai"),
];

/// Every source file but tests, with the name of its top-level module and its text without comments and unit tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
                files.push(path);
            }
        }
    }
    let source = |path: PathBuf| {
        let relative = path.strip_prefix(&root).unwrap();
        let first = relative.components().next().unwrap().as_os_str();
        let module = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        (module, path, code)
    };
    let all = files.into_iter().map(source);
    all.filter(|(module, ..)| !["lib", "main", "layers"].contains(&module.as_str()))
        .collect()
}

/// The modules in the table of `lib.rs`, from the first row to the last.
fn table() -> Vec<String> {
    let drawing = include_str!("lib.rs");
    let drawing = drawing.split("# Where to look").next().unwrap();
    let is_row = |line: &&str| line.starts_with("//! | [`") || line.starts_with("//! | `");
    let rows = drawing.lines().filter(is_row);
    rows.flat_map(|row| {
        let names = row.split('|').nth(1).unwrap();
        names
            .split(',')
            .map(|name| name.trim_matches([' ', '[', ']', '`']).to_owned())
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The top-level modules that `code` names after `crate::`, in a list of braces or alone.
fn used(code: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut modules = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            let name: String = after
                .chars()
                .take_while(|letter| is_name(*letter))
                .collect();
            modules.insert(name);
            continue;
        };
        let mut depth = 0_usize;
        let mut name = String::new();
        for letter in list.chars() {
            match letter {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ if is_name(letter) && depth == 0 => name.push(letter),
                _ if depth == 0 => {
                    modules.insert(std::mem::take(&mut name));
                }
                _ => {}
            }
        }
        modules.insert(name);
    }
    modules
}

#[test]
fn the_table_has_every_module_once() {
    let table = table();
    let listed: BTreeSet<_> = table.iter().cloned().collect();
    let existing: BTreeSet<_> = sources().into_iter().map(|(module, ..)| module).collect();
    assert_eq!(listed.len(), table.len(), "a module is listed twice");
    assert_eq!(listed, existing);
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = [include_str!("lib.rs"), include_str!("../README.md")];
    let quoted = documents.iter().flat_map(|text| text.split('`'));
    let is_file = |text: &&str| Path::new(text).extension().is_some_and(|end| end == "rs");
    let named: BTreeSet<_> = quoted.filter(is_file).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        let is_there = root.join("src").join(name).exists() || root.join(name).exists();
        assert!(is_there, "{name}");
    }
}

#[test]
fn the_drawing_is_the_same_in_both_documents() {
    let drawing = |text: &str| {
        let start = text.find(" AutoGen    ").unwrap();
        let drawing = text[start..].split("```").next().unwrap();
        let lines = drawing.lines();
        let lines = lines.map(|line| line.trim_start_matches("//!").trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(
        drawing(include_str!("lib.rs")),
        drawing(include_str!("../README.md"))
    );
}

#[test]
fn a_module_uses_only_modules_that_stand_before_it() {
    let table = table();
    let floor: BTreeMap<_, _> = table.iter().zip(0..).collect();
    let mut wrong = Vec::new();
    for (module, path, code) in sources() {
        for other in used(&code) {
            let allowed = match (floor.get(&module), floor.get(&other)) {
                (Some(own), Some(others)) => others <= own,
                // A macro or an item of `lib.rs`.
                _ => true,
            };
            if !allowed || FORBIDDEN.contains(&(module.as_str(), other.as_str())) {
                wrong.push(format!("{} uses {other}", path.display()));
            }
        }
        for (of, package) in FORBIDDEN {
            if module == of && code.contains(&format!("use {package}::")) {
                wrong.push(format!("{} uses {package}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_after_crate_are_found_in_every_form() {
    let code = "use crate::a::{B, c::D}; use crate::{e, f::{G, h}, i::J};\nlet x = crate::k::l();";
    let found: Vec<_> = used(code)
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    for module in ["a", "e", "f", "i", "k"] {
        assert!(found.iter().any(|name| name == module), "{module}");
    }
    assert!(!found.iter().any(|name| name == "c" || name == "h"));
}

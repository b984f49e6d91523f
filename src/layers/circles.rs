//! Checks that files beside each other do not use each other in a circle: a reader needs an end to begin at.
//!
//! A path is followed through the imports of the files that it names, so a sibling that is used over the parent's `use` counts as used.
//! Items of the parent itself do not count, nor do children.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::sources;

/// Segments of a module's path, or of an item's.
type Segments = Vec<String>;

/// How many imports a path is followed through.
const MOST_IMPORTS: usize = 8;

/// The modules of the crate, each with the absolute paths that it imports.
struct Modules(BTreeMap<Segments, BTreeSet<Segments>>);

impl Modules {
    /// The module that a path leads into: its longest part that is one, once imports are followed.
    fn module_of(&self, path: &[String], imports_left: usize) -> Segments {
        let known = |length: &usize| self.0.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(known).unwrap_or(0);
        let (module, rest) = path.split_at(length);
        let followed = rest.split_first().and_then(|(name, rest)| {
            let imports = self.0.get(module)?;
            let import = imports.iter().find(|import| import.last() == Some(name))?;
            Some([import, rest].concat())
        });
        match followed {
            Some(followed) if imports_left > 0 => self.module_of(&followed, imports_left - 1),
            _ => module.to_vec(),
        }
    }
}

fn segments(path: &str) -> Segments {
    path.split("::").map(str::to_owned).collect()
}

/// `src/a/b.rs` is `a::b`.
fn module(path: &Path) -> Segments {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let relative = path.strip_prefix(root).unwrap().with_extension("");
    let names = relative.iter().map(|name| name.to_str().unwrap());
    names.map(str::to_owned).collect()
}

/// The paths of a `use`: `a::{b, c::{d, e as f}}` has `a::b`, `a::c::d` and `a::c::e`.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap();
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let inner = inner.strip_suffix('}').unwrap();
    let mut depth = 0;
    let parts = inner.split(|letter| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        letter == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    let paths = parts.flat_map(|part| expanded(&format!("{prefix}{}", part.trim())));
    paths.collect()
}

/// The `use` lines of a file, and the rest of it.
fn imports(code: &str) -> (Vec<String>, String) {
    let (mut imports, mut rest) = (Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        let start = statement.rfind("use ").filter(|&start| {
            let before = statement[..start].lines().last().unwrap_or_default().trim();
            let begins = before.is_empty() || before == "pub" || before.starts_with("pub(");
            // A text over several lines may have such words.
            begins && !statement[start..].contains(['"', '('])
        });
        if let Some(start) = start {
            let tree = statement[start..].trim_start_matches("use ");
            imports.extend(expanded(tree.trim_end_matches(';')));
        }
        rest.push_str(&statement[..start.unwrap_or(statement.len())]);
    }
    (imports, rest)
}

/// Paths in code that begin with `super` or `crate`.
fn mentioned(code: &str) -> Vec<&str> {
    let is_path = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let words = code.split(|letter| !is_path(letter));
    words
        .filter(|word| word.starts_with("super::") || word.starts_with("crate::"))
        .map(|word| word.trim_end_matches(':'))
        .collect()
}

/// A path as it is seen from the crate's root. None where it leads out of the crate.
fn absolute(
    module: &[String],
    path: &str,
    is_module: impl Fn(&[String]) -> bool,
) -> Option<Segments> {
    let path = segments(path);
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let ups = path.iter().take_while(|name| *name == "super").count();
            let above = module.len().checked_sub(ups)?;
            Some([&module[..above], &path[ups..]].concat())
        }
        _ => {
            let own = [module, &path[..1]].concat();
            is_module(&own).then(|| [module, &path[..]].concat())
        }
    }
}

/// A module, the next names on the way to two of its files, and how the first uses the second.
type Uses = BTreeMap<Segments, BTreeMap<(String, String), String>>;

/// What files beside each other use of each other, by the module that they are in.
fn uses_among(files: &[(Segments, String)]) -> Uses {
    let names: BTreeSet<&Segments> = files.iter().map(|(name, _)| name).collect();
    let (mut modules, mut all_paths) = (BTreeMap::new(), Vec::new());
    for (name, code) in files {
        let (imports, rest) = imports(code);
        let is_module = |path: &[String]| names.contains(&path.to_vec());
        let seen = |path: &str| absolute(name, path, is_module);
        let imports: BTreeSet<_> = imports.iter().filter_map(|path| seen(path)).collect();
        let mentioned = mentioned(&rest).into_iter().filter_map(seen);
        all_paths.push((
            name,
            imports.iter().cloned().chain(mentioned).collect::<Vec<_>>(),
        ));
        modules.insert(name.clone(), imports);
    }
    let modules = Modules(modules);
    let mut all = Uses::new();
    for (user, paths) in all_paths {
        for path in paths {
            let target = modules.module_of(&path, MOST_IMPORTS);
            let pairs = user.iter().zip(&target);
            let common = pairs.take_while(|(one, other)| one == other).count();
            if let (Some(one), Some(other)) = (user.get(common), target.get(common))
                && common > 0
            {
                let pair = (one.clone(), other.clone());
                let how = format!("{} uses {}", user.join("::"), path.join("::"));
                let of_folder = all.entry(user[..common].to_vec()).or_default();
                of_folder.insert(pair, how);
            }
        }
    }
    all
}

/// The uses that are part of a circle, or lie between two.
fn circles(uses: Uses) -> Vec<String> {
    let mut found = Vec::new();
    for mut pairs in uses.into_values() {
        loop {
            let from: BTreeSet<_> = pairs.keys().map(|(one, _)| one.clone()).collect();
            let into: BTreeSet<_> = pairs.keys().map(|(_, other)| other.clone()).collect();
            let before = pairs.len();
            pairs.retain(|(one, other), _| into.contains(one) && from.contains(other));
            if pairs.len() == before {
                break;
            }
        }
        found.extend(pairs.into_values());
    }
    found
}

#[test]
fn files_beside_each_other_use_each_other_one_way() {
    let files: Vec<_> = sources()
        .into_iter()
        .map(|(_, path, code)| (module(&path), code))
        .collect();
    let found = circles(uses_among(&files));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let circles_of = |files: &[(&str, &str)]| {
        let own = |(name, code): &(&str, &str)| (segments(name), (*code).to_owned());
        circles(uses_among(&files.iter().map(own).collect::<Vec<_>>()))
    };
    let parent = (
        "m",
        "mod a;\nmod b;\npub(crate) use a::{A, c::C};\npub struct Own;\n",
    );
    for a in [
        "use super::b::B;",
        "pub use crate::m::{Own, b::{self, B as Other}};",
        "fn f() { super::b::g() }",
        "use super::{b, Own};",
    ] {
        for b in ["use super::A;", "use crate::m::a;", "struct B(super::C);"] {
            let files = [parent, ("m::a", a), ("m::a::c", ""), ("m::b", b)];
            assert_eq!(circles_of(&files).len(), 2, "{a} {b}");
            let files = [parent, ("m::a", a), ("m::b", "use super::Own;")];
            assert_eq!(circles_of(&files), [""; 0], "{a}");
        }
    }
    let three = [
        ("m", ""),
        ("m::a", "use super::b::x::X;"),
        ("m::b", ""),
        ("m::b::x", "use crate::m::c::C;"),
        ("m::c", "use super::a::A;"),
        ("m::d", "use super::a::A;"),
    ];
    assert_eq!(circles_of(&three).len(), 3);
}

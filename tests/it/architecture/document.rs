//! The documents: ARCHITECTURE.md is short, and true of the files and tests that are there; README.md lists every setting;
//! what SECURITY.md says to be tested is.

use std::{collections::BTreeSet, fs};

use wireline::{Limits, Timings};

use super::{root, source::Source};

/// A short map is read.
const LONGEST_MAP: usize = 150;

#[test]
fn architecture_md_names_every_file_once_and_only_what_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= LONGEST_MAP, "more than {LONGEST_MAP} lines");
    let mapped = codemap(&text);
    let listed: BTreeSet<&str> = mapped.iter().map(String::as_str).collect();
    assert_eq!(mapped.len(), listed.len(), "a file is mapped twice");
    for path in &mapped {
        assert!(root().join(path).exists(), "{path} is mapped and does not exist");
    }
    for source in Source::read(&root().join("src")) {
        let path = format!("src/{}", source.file);
        // A directory's line stands for its `mod.rs`.
        assert!(listed.contains(path.trim_end_matches("/mod.rs")), "{path} is not mapped");
    }
}

/// The paths in the code map: one a line or several with commas between, directories end in a slash, and what they hold is
/// indented by two.
fn codemap(text: &str) -> Vec<String> {
    let (_, rest) = text.split_once("## Code map").expect("a section of that title");
    let block = rest.split("```").nth(1).expect("a block of code");
    let mut above: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    // The first line is the block's language.
    for line in block.lines().skip(1) {
        above.truncate((line.len() - line.trim_start().len()) / 2);
        for word in line.split_whitespace() {
            let name = word.trim_end_matches(',');
            found.push(format!("{}{name}", above.concat()));
            if name == word {
                above.push(name);
                break;
            }
        }
    }
    found.into_iter().map(|path| path.trim_end_matches('/').to_owned()).collect()
}

/// Every test that a document names, as `topic::test` or `crate::module::tests::test`, exists.
#[test]
fn every_test_that_architecture_md_names_exists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, invariants) = text.split_once("## Invariants").expect("a section of that title");
    let section = invariants.split("\n## ").next().unwrap_or_default();
    let named: Vec<&str> = section.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
    assert!(named.len() >= 10, "each invariant has a test");
    for name in named {
        let (module, test) = name.rsplit_once("::").expect("a path");
        let (directory, module) = match module.strip_prefix("crate::") {
            Some(module) => ("src", module.trim_end_matches("::tests")),
            None => ("tests/it", module),
        };
        let path = module.replace("::", "/");
        let files = [format!("{directory}/{path}.rs"), format!("{directory}/{path}/mod.rs")];
        let has = |file: &String| fs::read_to_string(root().join(file)).is_ok_and(|text| has_test(&text, test));
        assert!(files.iter().any(has), "there is no test {name} in {files:?}");
    }
}

fn has_test(text: &str, test: &str) -> bool {
    text.contains(&format!("fn {test}("))
}

#[test]
fn readme_lists_every_limit_and_deadline() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    for (settings, shown) in
        [("limits", format!("{:?}", Limits::default())), ("timings", format!("{:?}", Timings::default()))]
    {
        let fields = shown.split(['{', ',']).filter_map(|field| field.split_once(": ")).map(|(name, _)| name.trim());
        for field in fields {
            assert!(text.contains(&format!("| `{settings}.{field}` |")), "{settings}.{field} is not in README.md");
        }
    }
}

/// Two names of one advisory: SECURITY.md has both, the rows the second.
const ALSO: &[(&str, &str)] = &[
    ("CVE-2020-35896", "RUSTSEC-2020-0043"),
    ("CVE-2022-35922", "RUSTSEC-2022-0035"),
    ("CVE-2024-28854", "RUSTSEC-2024-0341"),
];

#[test]
fn every_advisory_of_security_md_has_a_row() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows = Source::read(&root().join("tests/it"));
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    let is_advisory = |word: &&str| ["CVE-", "RUSTSEC-", "GHSA-"].iter().any(|series| word.starts_with(series));
    let named: Vec<&str> = words.filter(is_advisory).collect();
    assert!(named.len() >= 20, "advisories are found: {named:?}");
    for name in named {
        let name = ALSO.iter().find(|(one, _)| *one == name).map_or(name, |(_, other)| other);
        // Not here, where it may be listed as another's name.
        let has = |row: &Source| !row.file.starts_with("architecture") && row.text.contains(name);
        assert!(rows.iter().any(has), "{name} of SECURITY.md has no row");
    }
}

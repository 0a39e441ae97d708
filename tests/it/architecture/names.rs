//! What a path in the source means: which module the thing belongs to, past all re-exports.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Which module every name of the crate belongs to.
pub(super) struct Names {
    pub(super) modules: BTreeSet<String>,
    /// Names that a module imports, public or not, and what they stand for.
    imported: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn of(sources: &[Source]) -> Self {
        let modules = sources.iter().map(Source::module).filter(|module| !module.is_empty());
        // A directory is a module even if a fake file in it is all there is.
        let above = |module: String| {
            let ends: Vec<usize> = module.match_indices("::").map(|(at, _)| at).chain([module.len()]).collect();
            ends.into_iter().map(move |end| module[..end].to_owned())
        };
        let mut names = Self { modules: modules.flat_map(above).collect(), imported: BTreeMap::new() };
        for source in sources {
            let module = source.module();
            for (path, name) in &source.imports {
                let meant = names.absolute(&module, path).filter(|_| name != "*");
                names.imported.extend(meant.map(|meant| (join(&module, name), meant)));
            }
        }
        names
    }

    /// The path of something of ours, from the crate on and past all re-exports; `None` for what is not ours.
    pub(super) fn ours(&self, module: &str, path: &str) -> Option<String> {
        let mut path = self.absolute(module, path)?;
        // More re-exports than these would be a circle.
        for _ in 0..8 {
            let longest =
                self.imported.iter().filter(|(name, _)| is_within(&path, name)).max_by_key(|(name, _)| name.len());
            let Some((name, meant)) = longest else { break };
            path = format!("{meant}{}", &path[name.len()..]);
        }
        Some(path)
    }

    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        match first {
            "crate" => Some(rest.to_owned()),
            "self" => Some(join(module, rest)),
            "super" => {
                let above = module.rsplit_once("::").map_or("", |(above, _)| above);
                match rest.split("::").next() {
                    Some("super") => self.absolute(above, rest),
                    _ => Some(join(above, rest)),
                }
            }
            _ => Some(join(module, path)).filter(|_| self.modules.contains(&join(module, first))),
        }
    }
}

fn join(module: &str, rest: &str) -> String {
    [module, rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::")
}

pub(super) fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

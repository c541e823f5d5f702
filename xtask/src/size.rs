//! Source files stay small enough to be read: 400 lines is a warning, 800 an error. Functions are clippy's business.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::shell;

/// Lines from which a file draws a warning.
const LONG: usize = 400;
/// Lines above which a file is refused.
const TOO_LONG: usize = 800;

/// Looks at every source file of the checkout.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn check() -> Result<u8> {
    let mut code = 0;
    for file in shell::files(shell::root(), &is_source)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let shown = file.strip_prefix(shell::root()).unwrap_or(&file).display();
        match judge(text.lines().count()) {
            Verdict::Fine => {}
            Verdict::Long(lines) => shell::say(&format!("warning: {shown} has {lines} lines; aim for {LONG}")),
            Verdict::TooLong(lines) => {
                shell::complain(&format!("error: {shown} has {lines} lines; {TOO_LONG} is the most: split it"));
                code = 1;
            }
        }
    }
    Ok(code)
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["rs", "py", "sh", "js", "mjs"].iter().any(|known| ending == *known))
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Long(usize),
    TooLong(usize),
}

fn judge(lines: usize) -> Verdict {
    if lines > TOO_LONG {
        Verdict::TooLong(lines)
    } else if lines > LONG {
        Verdict::Long(lines)
    } else {
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_warned_of_above_400_lines_and_refused_above_800() {
        assert_eq!(judge(400), Verdict::Fine);
        assert_eq!(judge(401), Verdict::Long(401));
        assert_eq!(judge(800), Verdict::Long(800));
        assert_eq!(judge(801), Verdict::TooLong(801));
    }
}

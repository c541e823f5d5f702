//! Tables of measurements in pages of the documentation, between marks: `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.

use std::fs;
use std::path::Path;

/// Writes `table` between the marks of this name, in place of what stands there.
///
/// # Errors
/// Why it cannot, for a person: the page cannot be read or written, or does not have the marks.
pub fn write(page: &Path, name: &str, table: &str) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", page.display());
    let text = fs::read_to_string(page).map_err(wrong)?;
    let (begin, end) = (format!("<!-- bench:{name} -->\n"), format!("<!-- /bench:{name} -->"));
    let missing = || format!("{} has no marks `bench:{name}`", page.display());
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    fs::write(page, format!("{before}{begin}{table}{end}{after}")).map_err(wrong)
}

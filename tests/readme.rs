//! What README.md repeats from the program is what the program says.

use std::fs;
use std::path::Path;

use osvc_igw::config::options_table;

#[test]
fn the_options_table_of_the_readme_is_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let begin = readme.find("<!-- options:").expect("a begin mark");
    let begin = begin + readme[begin..].find('\n').expect("the mark's end") + 1;
    let end = readme.find("<!-- /options -->").expect("an end mark");
    let table = format!("\n{}\n", options_table());
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{}{table}{}", &readme[..begin], &readme[end..]);
        fs::write(&path, text).unwrap();
        return;
    }
    assert_eq!(
        &readme[begin..end],
        table,
        "UPDATE=1 cargo test readme rewrites it"
    );
}

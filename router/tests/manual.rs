//! Man pages and completions in `packaging/` are those of the command line as it is.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory as _;
use clap_complete::Shell;
use tidegate::cli::Cli;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

/// Compares what was made with the files of a folder, or writes it there with `UPDATE_GOLDEN`.
fn compare(folder: &str, made: &BTreeMap<String, Vec<u8>>) {
    let folder = packaging().join(folder);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in made {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
    let kept: BTreeMap<String, Vec<u8>> = entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    let update = "run the test again with UPDATE_GOLDEN=1 and look at what changed";
    assert_eq!(kept.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>(), "{update}");
    for (name, text) in made {
        assert!(kept.get(name) == Some(text), "{name} is another one: {update}");
    }
}

#[test]
fn every_verb_has_its_man_page() {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("man");
    drop(std::fs::remove_dir_all(&made));
    std::fs::create_dir_all(&made).unwrap();
    clap_mangen::generate_to(Cli::command(), &made).unwrap();
    let pages = std::fs::read_dir(&made).unwrap().map(|page| page.unwrap());
    let pages = pages.map(|page| {
        let text = std::fs::read_to_string(page.path()).unwrap();
        let name = page.file_name().into_string().unwrap().replace(".1", ".8");
        (name, of_section_8(&with_lines_kept(&text)).into_bytes())
    });
    compare("man", &pages.collect());
}

/// Who runs an edge looks among the commands of administrators.
fn of_section_8(page: &str) -> String {
    let lines = page.lines().map(|line| match line.strip_prefix(".TH ") {
        Some(title) => format!(".TH {}\n", title.replacen(" 1 ", " 8 ", 1)),
        None => format!("{}\n", line.replace("(1)", "(8)")),
    });
    lines.collect()
}

/// What stands below the options has lines and examples of its own, which nobody shall fill up.
fn with_lines_kept(page: &str) -> String {
    let Some((before, below)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let (notes, after) = match below.split_once("\n.SH ") {
        Some((notes, after)) => (notes, format!("\n.SH {after}")),
        None => (below.trim_end(), "\n".to_owned()),
    };
    format!("{before}.SH NOTES\n.nf\n{notes}\n.fi{after}")
}

#[test]
fn shells_complete_every_verb() {
    let shells = [Shell::Bash, Shell::Fish, Shell::Zsh];
    let names = ["tidegate.bash", "tidegate.fish", "_tidegate"];
    let made = shells.into_iter().zip(names).map(|(shell, name)| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut text);
        (name.to_owned(), text)
    });
    compare("completions", &made.collect());
}

#[test]
fn bash_completes_verbs_and_options() {
    let cases = [
        ("pe", vec!["peers"]),
        ("drain ba", vec!["backend"]),
        ("vips --so", vec!["--socket"]),
        ("health se", vec!["set"]),
    ];
    let file = packaging().join("completions/tidegate.bash").display().to_string();
    for (typed, wanted) in cases {
        let words: Vec<&str> = std::iter::once("tidegate").chain(typed.split(' ')).collect();
        let last = words.len() - 1;
        let script = format!(
            "source {file}; COMP_WORDS=({all}); COMP_CWORD={last}; \
             _tidegate tidegate {word} {before}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            all = words.join(" "),
            word = words[last],
            before = words[last - 1],
        );
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let found = String::from_utf8(output.stdout).unwrap();
        assert_eq!(found.lines().collect::<Vec<_>>(), wanted, "{typed}");
    }
}

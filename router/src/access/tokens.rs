//! Bearer tokens (RFC 6750): made here, kept elsewhere, known again by their hashes.
//!
//! A token is 256 bits of chance, so that a single SHA-256 of it is as good as a slow hash: there is
//! nothing to guess. Whoever reads the file of hashes cannot come in with what it says.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What a token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "tidegate_";
/// Octets of chance in it.
const CHANCE_LEN: usize = 32;
/// Longest token that is looked at, in bytes: twice as long as one is.
const TOKEN_BYTES_MAX: usize = 128;
/// Most tokens in a file.
const TOKENS_MAX: usize = 1_000;
/// Longest name of one, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Look at everything, change nothing
    ReadOnly,
    /// Look at everything, change everything
    Operator,
}

impl Role {
    const ALL: [Self; 2] = [Self::ReadOnly, Self::Operator];

    /// The word in files and output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
        }
    }
}

/// SHA-256 of a token.
type Hash = [u8; 32];

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// Those that a file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens(BTreeMap<Hash, Holder>);

impl Tokens {
    /// Reads a file of them, with every mistake in it.
    ///
    /// # Errors
    /// A sentence for each line that is not as it should be.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut tokens, mut mistakes) = (Self::default(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match holder(line) {
                Ok((hash, holder)) if tokens.0.values().any(|it| it.name == holder.name) => {
                    mistakes.push(format!("line {number}: {:?} is there twice", holder.name));
                    tokens.0.insert(hash, holder);
                }
                Ok((hash, holder)) => drop(tokens.0.insert(hash, holder)),
                Err(why) => mistakes.push(format!("line {number}: {why}")),
            }
        }
        if tokens.0.len() > TOKENS_MAX {
            mistakes.push(format!("it names {} tokens, at most {TOKENS_MAX}", tokens.0.len()));
        }
        if mistakes.is_empty() { Ok(tokens) } else { Err(mistakes.join("; ")) }
    }

    /// Whose this is, if anybody's.
    ///
    /// How long the search takes may tell something of the hash of what was shown, and of the hashes
    /// that there are. That is of no use: nobody can make a token for a hash.
    pub(crate) fn holder(&self, token: &[u8]) -> Option<&Holder> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        self.0.get(digest(&SHA256, token).as_ref())
    }
}

/// `grafana read-only sha256:0123...`
fn holder(line: &str) -> Result<(Hash, Holder), String> {
    let shape = "a line is NAME ROLE sha256:HASH, as `tidegate token` prints it";
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, role, hash] = words[..] else { return Err(shape.to_owned()) };
    // What a line has in the wrong place may be a token: it is not repeated.
    check_name(name).map_err(|why| format!("the first word is no name: {why}"))?;
    let known = Role::ALL.into_iter().find(|known| known.name() == role);
    let role = known.ok_or("the second word is read-only or operator")?;
    let hex = hash.strip_prefix("sha256:").ok_or(shape)?;
    let hash = unhex(hex).ok_or("a hash is sha256: and 64 hexadecimal digits")?;
    Ok((hash, Holder { name: name.to_owned(), role }))
}

/// Whether somebody can be called so: the name stands in the log and in files, without quotes.
///
/// # Errors
/// What it should be.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_of_it);
    if is_name { Ok(()) } else { Err("use 1 to 63 letters, digits, -, _, . and @") }
}

fn unhex(text: &str) -> Option<Hash> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok())).collect();
    let octets: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |octet: u8, digit| octet << 4 | digit))
        .collect();
    (text.len() == 64).then(|| octets.try_into().ok())?
}

/// A new token and what is written down of it.
pub(crate) struct Fresh {
    /// For its holder, and nobody else.
    pub(crate) token: String,
    /// For the file.
    pub(crate) line: String,
}

/// Makes one.
///
/// # Errors
/// The kernel gives no random octets.
pub(crate) fn fresh(holder: &Holder) -> Result<Fresh, &'static str> {
    let mut chance = [0; CHANCE_LEN];
    SystemRandom::new().fill(&mut chance).map_err(|_unspecified| "there is no randomness")?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(chance));
    let line = Line { holder, hash: digest(&SHA256, token.as_bytes()).as_ref() }.to_string();
    Ok(Fresh { token, line })
}

struct Line<'a> {
    holder: &'a Holder,
    hash: &'a [u8],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} sha256:", self.holder.name, self.holder.role.name())?;
        self.hash.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_token_is_known_again_by_the_line_of_the_file_and_no_other_is() {
        let holder = Holder { name: "grafana".into(), role: Role::ReadOnly };
        let (one, other) = (fresh(&holder).unwrap(), fresh(&holder).unwrap());
        assert_ne!(one.token, other.token);
        assert!(!one.line.contains(&one.token[PREFIX.len()..]), "{}", one.line);
        let tokens = Tokens::parse(&format!("# who may look\n\n  {}\n", one.line)).unwrap();
        assert_eq!(tokens.holder(one.token.as_bytes()), Some(&holder));
        for wrong in [&*other.token, "", "tidegate_", &one.line, &one.token[..40], &"x".repeat(999)]
        {
            assert_eq!(tokens.holder(wrong.as_bytes()), None, "{wrong}");
        }
    }

    /// By `printf abc | sha256sum`.
    #[test]
    fn the_hash_is_sha_256_of_the_token_as_it_is() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let tokens = Tokens::parse(&format!("ops operator sha256:{hash}")).unwrap();
        assert_eq!(tokens.holder(b"abc").map(|it| it.role), Some(Role::Operator));
    }

    #[test]
    fn every_mistake_of_a_file_is_told_with_its_line_and_without_what_may_be_a_token() {
        let good = fresh(&Holder { name: "a".into(), role: Role::Operator }).unwrap();
        let secret = &good.token;
        let file = format!(
            "{line}\n{secret}\n{secret} operator sha256:00\nb admin sha256:00\nc operator {secret}\n\
             d operator sha256:0g\n{line}\n",
            line = good.line
        );
        let told = Tokens::parse(&file).unwrap_err();
        for number in 2..=7 {
            assert!(told.contains(&format!("line {number}: ")), "{told}");
        }
        assert!(!told.contains("line 1:"), "{told}");
        // A token is a good name by its letters: then the line has another mistake, and no word of it.
        assert!(!told.contains(secret), "{told}");
    }
}

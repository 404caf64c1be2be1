//! `tidegate refresh`: a soft reset of one peer.

use clap::{Args, ValueEnum};

use super::client::{Answer, escaped, post};
use super::commands::show;
use super::{Failure, Read};
use crate::view::routes::Refresh;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// What the peer announces: it is asked for it again, or what it has said is judged again
    In,
    /// What the peer is told: it is told again
    Out,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RefreshArgs {
    /// Name of the peer
    peer: String,
    /// In which direction
    way: Way,
    #[command(flatten)]
    read: Read,
}

pub(super) async fn refresh(args: RefreshArgs) -> Result<(), Failure> {
    let way = match args.way {
        Way::In => "in",
        Way::Out => "out",
    };
    let path = format!("/api/v1/refresh?peer={}&way={way}", escaped(&args.peer));
    let answer: Answer<Refresh> = post(&args.read.node, &path, None::<&()>).await?;
    show(args.read.output, &answer, text)
}

fn text(refresh: &Refresh) -> String {
    let (peer, families) = (&refresh.peer, refresh.families.join(", "));
    match refresh.done.as_str() {
        "asked" => format!("{peer} is asked for its routes again: {families}\n"),
        "judged" => format!(
            "{peer} cannot announce its routes again (RFC 2918): what it has announced passes its \
             import policies again\n"
        ),
        _ => format!("{peer} is told all routes again: {families}\n"),
    }
}

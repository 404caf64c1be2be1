//! NOTIFICATION messages and their codes in words (RFC 4271 §4.5, §6; RFC 4486, RFC 6608, RFC 9003).

/// A NOTIFICATION: the last word on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode; zero: unspecific.
    pub subcode: u8,
    /// Data, as the code defines it.
    pub data: Vec<u8>,
}

//! The record as a file in memory: a header that says what it is, how long and with which sum.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::FORMAT;

const MAGIC: [u8; 8] = *b"tidegate";
const HEADER_BYTES: usize = 28;

/// A record is no longer: some fifty million routes.
const BODY_BYTES_MAX: u64 = 2 << 30;

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the record cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("this is no record")]
    NoRecord,
    #[error("the record is in format {0}, not in {FORMAT}")]
    Format(u32),
    #[error("the record is of {bytes} bytes, not of the {said} it should have")]
    Length { bytes: u64, said: u64 },
    #[error("the record is damaged: its sum is wrong")]
    Sum,
    #[error("the record is damaged: {0}")]
    Body(#[from] postcard::Error),
}

/// Words folded one into the other, against mishaps and not against forgers: who could forge a
/// record could do so with any sum.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |sum, chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        (sum.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// Puts a record into a file in memory.
pub(super) fn sealed(body: &impl Serialize) -> Result<File, Error> {
    let body = postcard::to_allocvec(body)?;
    let bytes = body.len() as u64;
    if bytes > BODY_BYTES_MAX {
        return Err(Error::Length { bytes, said: BODY_BYTES_MAX });
    }
    let mut file =
        File::from(memfd_create("tidegate-record", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
    file.write_all(&MAGIC)?;
    file.write_all(&FORMAT.to_le_bytes())?;
    file.write_all(&bytes.to_le_bytes())?;
    file.write_all(&sum(&body).to_le_bytes())?;
    file.write_all(&body)?;
    Ok(file)
}

/// Takes it out again.
pub(super) fn opened<T: DeserializeOwned>(mut file: File) -> Result<T, Error> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(BODY_BYTES_MAX + HEADER_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    read(&bytes)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Error::NoRecord)?;
    let (format, rest) = rest.split_first_chunk::<4>().ok_or(Error::NoRecord)?;
    let (said, rest) = rest.split_first_chunk::<8>().ok_or(Error::NoRecord)?;
    let (wanted, body) = rest.split_first_chunk::<8>().ok_or(Error::NoRecord)?;
    if *magic != MAGIC {
        return Err(Error::NoRecord);
    }
    let (format, said) = (u32::from_le_bytes(*format), u64::from_le_bytes(*said));
    if format != FORMAT {
        return Err(Error::Format(format));
    }
    if said != body.len() as u64 {
        return Err(Error::Length { bytes: body.len() as u64, said });
    }
    if sum(body) != u64::from_le_bytes(*wanted) {
        return Err(Error::Sum);
    }
    Ok(postcard::from_bytes(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_record_comes_out_as_it_went_in_and_every_damage_is_found() {
        let body = (7_u64, "core".to_owned(), vec![1_u32, 2, 3]);
        let sealed = sealed(&body).unwrap();
        assert_eq!(opened::<(u64, String, Vec<u32>)>(sealed.try_clone().unwrap()).unwrap(), body);
        let whole = bytes(sealed);
        assert_eq!(whole.len(), HEADER_BYTES + postcard::to_allocvec(&body).unwrap().len());
        for cut in 0..whole.len() {
            assert!(read::<(u64, String, Vec<u32>)>(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(read::<(u64, String, Vec<u32>)>(&damaged).is_err(), "changed at {at}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(matches!(read::<(u64, String, Vec<u32>)>(&longer), Err(Error::Length { .. })));
        let mut other = whole;
        other[8] = 9;
        let error = read::<(u64, String, Vec<u32>)>(&other).unwrap_err();
        assert_eq!(error.to_string(), format!("the record is in format 9, not in {FORMAT}"));
    }
}

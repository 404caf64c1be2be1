//! Files that follow each other, on disks that fail and in directories of others.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::bgp_io::BgpHandle;

fn mrt(directory: PathBuf, rotate: Duration) -> Mrt {
    Mrt { directory, updates: true, rotate, dump_interval: None, keep: 2 }
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&directory));
    directory
}

/// A speaker without routes, and what dumps them.
fn dumps() -> (BgpHandle, Dumps) {
    let bgp = crate::bgp_io::alone();
    let dumps = start(bgp.outside()).dumps;
    (bgp, dumps)
}

#[tokio::test]
async fn there_is_one_dump_at_a_time_and_what_a_crash_left_is_in_nobodys_way() {
    let (bgp, dumps) = dumps();
    let mrt = mrt(directory("mrt-dump"), Duration::ZERO);
    fs::create_dir_all(&mrt.directory).unwrap();
    let part = mrt.directory.join(".rib.part");
    fs::write(&part, "longer than a file without any routes will be, by far".repeat(9)).unwrap();
    let (first, second) = tokio::join!(dumps.dump(&mrt), dumps.dump(&mrt));
    let first = first.unwrap();
    assert_eq!(fs::metadata(&first.file).unwrap().len(), first.bytes);
    assert!(matches!(second, Err(DumpError::Running)), "{second:?}");
    assert!(dumps.dump(&mrt).await.is_ok());

    // One that fails takes its beginnings with it, and is in nobody's way either.
    bgp.stop().await;
    assert!(matches!(dumps.dump(&mrt).await, Err(DumpError::Stopped(_))));
    assert!(matches!(dumps.dump(&mrt).await, Err(DumpError::Stopped(_))));
    assert!(!part.exists());
    fs::remove_dir_all(&mrt.directory).unwrap();
}

#[tokio::test]
async fn routes_are_dumped_again_and_again_when_that_is_wanted() {
    let bgp = crate::bgp_io::alone();
    let mut files = start(bgp.outside());
    let mrt = Mrt {
        updates: false,
        dump_interval: Some(Duration::from_millis(5)),
        ..mrt(directory("mrt-interval"), Duration::ZERO)
    };
    files.set(Some(&mrt)).await;
    let whole = || {
        let names = fs::read_dir(&mrt.directory).into_iter().flatten().flatten();
        let mut names: Vec<_> = names.map(|it| it.path()).filter(|it| is_ours(it, "rib")).collect();
        names.sort();
        names
    };
    let newest = async || loop {
        if let Some(newest) = whole().pop() {
            break newest;
        }
        tokio::task::yield_now().await;
    };
    let first = newest().await;
    while newest().await == first {
        tokio::task::yield_now().await;
    }
    assert!(whole().len() <= mrt.keep as usize + 1, "one more while it is written");
    files.set(None).await;
    bgp.stop().await;
    drop(fs::remove_dir_all(&mrt.directory));
}

#[test]
fn files_follow_each_other_and_old_ones_go() {
    let mrt = mrt(directory("mrt-rotate"), Duration::ZERO);
    let (records, inbox) = mpsc::channel(8);
    for record in [b"one", b"two", b"six"] {
        records.try_send(record.to_vec()).unwrap();
    }
    drop(records);
    fs::create_dir_all(&mrt.directory).unwrap();
    fs::write(mrt.directory.join("updates.of-somebody.mrt"), "keep me").unwrap();
    let [written, dropped] = [0, 0].map(AtomicU64::new);
    write_updates(&mrt, inbox, &written, &dropped);
    assert_eq!([&written, &dropped].map(|it| it.load(Ordering::Relaxed)), [3, 0]);
    let mut left: Vec<String> = fs::read_dir(&mrt.directory)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["keep me", "six", "two"]);
    fs::remove_dir_all(&mrt.directory).unwrap();
}

#[test]
fn a_disk_that_fails_loses_records_and_ends_nothing() {
    let file = directory("mrt-file");
    fs::write(&file, "in the way").unwrap();
    let mrt = mrt(file.join("below"), Duration::from_mins(1));
    let (records, inbox) = mpsc::channel(8);
    records.try_send(vec![1]).unwrap();
    drop(records);
    let [written, dropped] = [0, 0].map(AtomicU64::new);
    write_updates(&mrt, inbox, &written, &dropped);
    assert_eq!([&written, &dropped].map(|it| it.load(Ordering::Relaxed)), [0, 1]);
    fs::remove_file(file).unwrap();
}

/// A disk with room for so many octets.
#[derive(Default)]
struct Small {
    room: Rc<Cell<usize>>,
    begun: usize,
    /// Files that took the place of old ones.
    sound: usize,
    discarded: usize,
}

struct SmallFile(Rc<Cell<usize>>);

impl io::Write for SmallFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.0.get().checked_sub(bytes.len());
        self.0.set(left.ok_or(io::ErrorKind::StorageFull)?);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Files for Small {
    type File = SmallFile;

    fn begin(&mut self) -> io::Result<SmallFile> {
        self.begun += 1;
        Ok(SmallFile(Rc::clone(&self.room)))
    }

    fn is_sound(&mut self) {
        self.sound += 1;
    }

    fn discard(&mut self) {
        self.discarded += 1;
    }
}

#[test]
fn a_disk_that_fails_costs_no_old_file_and_is_left_alone_for_a_while() {
    let [written, dropped] = [0, 0].map(AtomicU64::new);
    let counts = || [&written, &dropped].map(|it| it.load(Ordering::Relaxed));
    let (room, start) = (Rc::new(Cell::new(100)), Instant::now());
    let at = |secs| start + Duration::from_secs(secs);
    let files = Small { room: Rc::clone(&room), ..Small::default() };
    let mrt = mrt(PathBuf::new(), Duration::from_mins(1));
    let mut series = Series::new(files, &mrt, [&written, &dropped]);
    series.put(at(0), &[0; 60], false);
    assert_eq!((counts(), series.files.sound), ([1, 0], 1));

    // Full: the file ends. For a while there is no other, then one without a good record.
    series.put(at(1), &[0; 60], false);
    (0..9).for_each(|_| series.put(at(2), &[0; 60], false));
    assert_eq!((counts(), series.files.begun), ([1, 10], 1));
    series.put(at(11), &[0; 60], false);
    assert_eq!((counts(), series.files.begun), ([1, 11], 2));
    assert_eq!((series.files.sound, series.files.discarded), (1, 1));

    // There is room again. What waits is written, and counts, at the end of its file at last.
    room.set(100);
    series.put(at(30), &[0; 60], true);
    assert_eq!((counts(), series.files.sound), ([1, 11], 1));
    series.put(at(90), &[0; 40], false);
    assert_eq!((counts(), series.files.sound), ([3, 11], 3));

    // The end of a file can fail as well.
    series.put(at(91), &[0; 60], true);
    series.put(at(150), &[0; 60], false);
    assert_eq!((counts(), series.files.begun), ([3, 13], 4));
}

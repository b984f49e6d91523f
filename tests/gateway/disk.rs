//! Watches over disks that fail: whatever becomes of the store's file, every request is served, every span is counted, and the store comes
//! back by itself.
//!
//! The disk is a small tmpfs where the system lets this test mount one. Where it does not, the directory is put out of reach by a file in
//! its place, which fails every write just as well, and the store's own bound stands for the end of the disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use rustix::process::Signal;

use crate::harness::{
    ClientRequest, DiskFault, FailingDisk, Gateway, RecordKind, Respan, Setup, Upstream,
    chat_reply, chat_request, json_reply, log_records, until,
};

/// A small disk.
struct Disk {
    place: TempDir,
    mounted: bool,
}

impl Disk {
    fn new(mebibytes: u32) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let size = format!("size={mebibytes}m");
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs"],
            place.path(),
        );
        if !mounted {
            eprintln!(
                "no tmpfs can be mounted here: the store's own bound stands for the end of the disk"
            );
        }
        Disk { place, mounted }
    }

    fn store(&self) -> String {
        let path = self.place.path().join("store");
        path.to_str().expect("a plain path").to_owned()
    }

    fn max_size(&self) -> &'static str {
        if self.mounted { "1GiB" } else { "2MiB" }
    }

    /// Lets nothing be written any more.
    fn fails(&self) {
        if self.mounted {
            // What has files open for writing cannot be remounted; what is full takes nothing either.
            let free = fs::File::create(self.place.path().join("in the way")).expect("a file");
            let mut free = std::io::BufWriter::new(free);
            while std::io::Write::write_all(&mut free, &[1; 4096]).is_ok() {}
        } else {
            let store = self.place.path().join("store");
            fs::rename(&store, self.place.path().join("away")).expect("it is there");
            fs::write(store, "in the way").expect("a file");
        }
    }

    /// Leaves only so many bytes, which takes a disk of its own.
    fn leaves(&self, bytes: u64) {
        let free = || {
            let disk = rustix::fs::statvfs(self.place.path()).expect("it is there");
            disk.f_bavail * disk.f_frsize
        };
        let mut in_the_way =
            fs::File::create(self.place.path().join("in the way")).expect("a file");
        while free() > bytes {
            std::io::Write::write_all(&mut in_the_way, &[1; 4096]).expect("there is room");
        }
    }

    fn works(&self) {
        if self.mounted {
            fs::remove_file(self.place.path().join("in the way")).expect("it is there");
        } else {
            let store = self.place.path().join("store");
            fs::remove_file(&store).expect("it is there");
            fs::rename(self.place.path().join("away"), store).expect("it is there");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            run("umount", &["-l"], self.place.path());
        }
    }
}

fn run(command: &str, words: &[&str], place: &Path) -> bool {
    let done = Command::new(command).args(words).arg(place).output();
    done.is_ok_and(|done| done.status.success())
}

/// A question that does not compress.
fn long(bytes: usize) -> String {
    (0..bytes).map(|_| fastrand::alphanumeric()).collect()
}

async fn asks(gateway: &Gateway, times: usize, question: impl Fn() -> String) {
    for _ in 0..times {
        let ask = ClientRequest::post("/v1/chat/completions", chat_request(&question(), false));
        assert_eq!(gateway.ask(&ask).await.status, 200);
    }
}

/// How many spans the log has.
fn spans_in(store: &Path) -> u32 {
    let mut seqs: Vec<u64> = log_records(store)
        .iter()
        .filter(|record| record.kind == RecordKind::Span)
        .map(|record| record.number)
        .collect();
    seqs.sort_unstable();
    seqs.dedup();
    u32::try_from(seqs.len()).expect("few")
}

/// Waits until Respan has got `made` spans but for those that are counted as dropped.
async fn all_accounted(gateway: &Gateway, respan: &Respan, made: f64) {
    let metrics = gateway
        .counts("every span to be sent or counted as lost", |metrics| {
            let created = metrics.total("spangate_spans_created_total");
            (created - made).abs() < 0.5 && metrics.total("spangate_spans_pending") < 0.5
        })
        .await;
    let exported = metrics.total("spangate_spans_exported_total");
    let got = u32::try_from(respan.spans().len()).expect("few");
    assert!((exported - f64::from(got)).abs() < 0.5, "{exported} {got}");
}

async fn store_is_up(gateway: &Gateway, up: bool) {
    gateway
        .counts("the store's state", |metrics| {
            (metrics.total("spangate_store_up") > 0.5) == up
        })
        .await;
}

#[tokio::test]
async fn a_disk_that_fills_costs_no_request_and_no_count() {
    let (upstream, respan) = (
        Upstream::always(chat_reply("It is fine.")).await,
        Respan::start().await,
    );
    respan.answer_always(Some(json_reply("503 Service Unavailable", "{}")));
    let disk = Disk::new(2);
    // Memory has the latest alone.
    let gateway = Setup::between(&upstream, &respan)
        .set("store.dir", &disk.store())
        .set("store.max_size", disk.max_size())
        .set("respan.max_pending", "1MiB")
        .start()
        .await;
    asks(&gateway, 60, || long(50_000)).await;
    respan.answer_always(None);
    all_accounted(&gateway, &respan, 60.0).await;
    let metrics = gateway.metrics().await;
    let dropped = metrics.total("spangate_spans_dropped_total");
    assert!((5.0..55.0).contains(&dropped), "{dropped}");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_used_again_as_soon_as_it_does() {
    let (upstream, respan) = (
        Upstream::always(chat_reply("It is fine.")).await,
        Respan::start().await,
    );
    respan.answer_always(Some(json_reply("503 Service Unavailable", "{}")));
    let disk = Disk::new(8);
    let mut gateway = Setup::between(&upstream, &respan)
        .set("store.dir", &disk.store())
        .start()
        .await;
    asks(&gateway, 20, || long(1000)).await;
    disk.fails();
    let failed = async {
        loop {
            asks(&gateway, 20, || long(20_000)).await;
            if gateway.metrics().await.total("spangate_store_up") < 0.5 {
                break;
            }
        }
    };
    crate::harness::within("the store to fail", failed).await;
    let made = gateway
        .metrics()
        .await
        .total("spangate_spans_created_total");
    disk.works();
    store_is_up(&gateway, true).await;
    assert!(gateway.log().contains("the store works again"));
    // What only memory had is on the disk now.
    until("everything to be written", async || {
        let written = spans_in(Path::new(&disk.store()));
        (f64::from(written) >= made).then_some(())
    })
    .await;
    gateway.kill();
    respan.answer_always(None);
    gateway.restart().await;
    gateway
        .counts("every span to be sent", |metrics| {
            metrics.total("spangate_spans_exported_total") >= made
        })
        .await;
    assert!(
        gateway
            .metrics()
            .await
            .total("spangate_spans_dropped_total")
            < 0.5
    );
}

#[tokio::test]
async fn on_a_disk_that_others_fill_the_store_makes_room_and_goes_on() {
    let disk = Disk::new(8);
    if !disk.mounted {
        eprintln!("not tested here: only a disk of its own can be filled to the point");
        return;
    }
    let (upstream, respan) = (
        Upstream::always(chat_reply("It is fine.")).await,
        Respan::start().await,
    );
    respan.answer_always(Some(json_reply("503 Service Unavailable", "{}")));
    let gateway = Setup::between(&upstream, &respan)
        .set("store.dir", &disk.store())
        .start()
        .await;
    asks(&gateway, 60, || long(50_000)).await;
    gateway
        .counts("spans to be made", |metrics| {
            metrics.total("spangate_spans_created_total") > 59.5
        })
        .await;
    disk.leaves(120 << 10);
    asks(&gateway, 30, || long(50_000)).await;
    gateway
        .counts(
            "these to be written, and the oldest to make room",
            |metrics| {
                metrics.total("spangate_spans_created_total") > 89.5
                    && metrics.total("spangate_store_bytes") < 5e6
                    && metrics.total("spangate_store_up") > 0.5
            },
        )
        .await;
    respan.answer_always(None);
    all_accounted(&gateway, &respan, 90.0).await;
    assert_eq!(respan.spans().len(), 90, "memory had them all");
}

/// The one segment that the log has.
fn segment(gateway: &Gateway) -> PathBuf {
    let files = fs::read_dir(gateway.store().join("log-1")).expect("a directory");
    let mut files = files.map(|file| file.expect("a file").path());
    let segment = files.find(|file| file.extension().is_some_and(|end| end == "log"));
    segment.expect("a segment")
}

/// What is done to the file.
const DAMAGES: [fn(&Path); 4] = [
    |file| {
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_len(5_000).unwrap();
    },
    |file| {
        let mut bytes = fs::read(file).unwrap();
        for at in (0..bytes.len()).step_by(1_013) {
            bytes[at] ^= 0x55;
        }
        fs::write(file, bytes).unwrap();
    },
    |file| fs::write(file, "junk ".repeat(10_000)).unwrap(),
    |file| fs::remove_dir_all(file.parent().unwrap()).unwrap(),
];

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_used_costs_no_request_and_no_count() {
    for damage in DAMAGES {
        let (upstream, respan) = (
            Upstream::always(chat_reply("It is fine.")).await,
            Respan::start().await,
        );
        respan.answer_always(Some(json_reply("503 Service Unavailable", "{}")));
        let gateway = Setup::between(&upstream, &respan).start().await;
        asks(&gateway, 50, || long(5_000)).await;
        damage(&segment(&gateway));
        asks(&gateway, 50, || long(5_000)).await;
        respan.answer_always(None);
        all_accounted(&gateway, &respan, 100.0).await;
        asks(&gateway, 5, || long(100)).await;
        all_accounted(&gateway, &respan, 105.0).await;
        store_is_up(&gateway, true).await;
    }
}

#[tokio::test]
async fn a_file_that_was_damaged_before_the_start_does_not_stop_it() {
    for damage in DAMAGES {
        let (upstream, respan) = (
            Upstream::always(chat_reply("It is fine.")).await,
            Respan::start().await,
        );
        respan.answer_always(Some(json_reply("503 Service Unavailable", "{}")));
        let mut gateway = Setup::between(&upstream, &respan).start().await;
        asks(&gateway, 30, || long(5_000)).await;
        assert!(gateway.stop().await.success());
        respan.answer_always(None);
        damage(&segment(&gateway));
        gateway.restart().await;
        asks(&gateway, 5, || long(100)).await;
        gateway
            .counts("the new spans to be sent", |metrics| {
                metrics.total("spangate_spans_exported_total") >= 5.0
                    && metrics.total("spangate_spans_pending") < 0.5
            })
            .await;
        store_is_up(&gateway, true).await;
    }
}

/// How a disk fails.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Of(DiskFault),
    /// The store's directory is taken away.
    Gone,
}

const FAILURES: [Failure; 5] = [
    Failure::Of(DiskFault::Full),
    Failure::Of(DiskFault::ReadOnly),
    Failure::Of(DiskFault::Broken),
    Failure::Of(DiskFault::Stuck),
    Failure::Gone,
];

/// A gateway whose disk has failed, and one that knows why.
async fn failed(upstream: &Upstream, respan: &Respan, failure: Failure) -> (FailingDisk, Gateway) {
    respan.answer_always(Some(json_reply("503 Service Unavailable", "{}")));
    let disk = FailingDisk::new();
    let setup = Setup::between(upstream, respan).set("server.drain_deadline", "6s");
    let gateway = disk.under(setup).start().await;
    asks(&gateway, 10, || long(1000)).await;
    gateway
        .counts("spans to be made", |metrics| {
            metrics.total("spangate_spans_created_total") > 9.5
        })
        .await;
    match failure {
        Failure::Of(fault) => disk.fails(fault),
        Failure::Gone => {
            fs::remove_dir_all(gateway.store()).expect("it is there");
            // What would bring it back at once.
            fs::write(gateway.store(), "in the way").expect("a file");
        }
    }
    asks(&gateway, 10, || long(1000)).await;
    until("health to say what the disk does", async || {
        let health = ClientRequest::new("GET", "/api/health")
            .to(gateway.admin)
            .await;
        assert_eq!(health.status, 200);
        let store = &health.json()["store"];
        (store["up"] == false && store["failing"]["message"].is_string()).then_some(())
    })
    .await;
    (disk, gateway)
}

#[tokio::test]
async fn however_the_disk_fails_no_request_notices_and_all_is_sent_from_memory() {
    for failure in FAILURES {
        let (upstream, respan) = (
            Upstream::always(chat_reply("It is fine.")).await,
            Respan::start().await,
        );
        let (disk, gateway) = failed(&upstream, &respan, failure).await;
        asks(&gateway, 10, || long(1000)).await;
        respan.answer_always(None);
        all_accounted(&gateway, &respan, 30.0).await;
        assert_eq!(respan.spans().len(), 30, "{failure:?}");
        match failure {
            Failure::Of(_) => disk.works(),
            Failure::Gone => fs::remove_file(gateway.store()).expect("it is there"),
        }
        store_is_up(&gateway, true).await;
        asks(&gateway, 5, || long(1000)).await;
        all_accounted(&gateway, &respan, 35.0).await;
    }
}

#[tokio::test]
async fn however_the_disk_fails_sigterm_keeps_its_deadline() {
    for failure in FAILURES {
        let (upstream, respan) = (
            Upstream::always(chat_reply("It is fine.")).await,
            Respan::start().await,
        );
        let (_disk, mut gateway) = failed(&upstream, &respan, failure).await;
        let began = Instant::now();
        assert!(gateway.stop().await.success(), "{failure:?}");
        // Beyond it is what a busy machine adds.
        let took = began.elapsed();
        assert!(took < Duration::from_secs(6 + 6), "{failure:?}: {took:?}");
        assert!(gateway.log().contains("are lost"), "{failure:?}");
    }
}

#[tokio::test]
async fn however_the_disk_fails_a_second_sigterm_ends_it_at_once() {
    for failure in FAILURES {
        let (upstream, respan) = (
            Upstream::always(chat_reply("It is fine.")).await,
            Respan::start().await,
        );
        let (_disk, mut gateway) = failed(&upstream, &respan, failure).await;
        gateway.signal(Signal::TERM);
        until("the draining to begin", async || {
            gateway.log().contains("draining").then_some(())
        })
        .await;
        let began = Instant::now();
        gateway.signal(Signal::TERM);
        assert!(gateway.ended().await.success(), "{failure:?}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{failure:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_disk_that_is_stuck_before_the_start_does_not_stop_it() {
    let (upstream, respan) = (
        Upstream::always(chat_reply("It is fine.")).await,
        Respan::start().await,
    );
    let disk = FailingDisk::new();
    disk.fails(DiskFault::Stuck);
    let gateway = disk.under(Setup::between(&upstream, &respan)).start().await;
    asks(&gateway, 5, || long(1000)).await;
    all_accounted(&gateway, &respan, 5.0).await;
    store_is_up(&gateway, false).await;
    disk.works();
    store_is_up(&gateway, true).await;
    asks(&gateway, 5, || long(1000)).await;
    all_accounted(&gateway, &respan, 10.0).await;
}

//! Streams before a desk that says what it is told to: order, back-pressure, garbage, ends.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tallystick_client::desk::{
    Conclusion, Verdict,
    stream::{self, StreamEnd, StreamReport},
};
use tallystick_tests::fake_desk::{FakeDesk, number, passport};
use zeroize::Zeroizing;

/// What was written, and what it may do.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives so many bytes, and counts what was taken.
struct Counted {
    left: io::Cursor<Vec<u8>>,
    taken: Arc<AtomicUsize>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // As a pipe gives it.
        let most = into.len().min(4096);
        let read = self.left.read(&mut into[..most])?;
        self.taken.fetch_add(read, Ordering::SeqCst);
        Ok(read)
    }
}

fn form(line: u64, verdict: &Verdict) -> Zeroizing<String> {
    Zeroizing::new(format!("{line} {}", verdict.conclusion))
}

async fn run(input: String, output: Output) -> StreamReport {
    let desk = Arc::new(FakeDesk::default());
    let input = io::Cursor::new(input.into_bytes());
    let never = std::future::pending();
    stream::run(input, output, desk, form, never).await.unwrap()
}

fn run_of(conclusion: Conclusion, slow: bool) -> String {
    passport(&number(conclusion, slow)).concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lines_at_once_keep_their_order_and_none_is_lost() {
    let classes = [
        Conclusion::Consistent,
        Conclusion::Reported,
        Conclusion::Incomplete,
    ];
    let (mut input, mut wanted) = (String::new(), Vec::new());
    for n in 0..20_000 {
        // Some answers take longer than thousands of others.
        let (class, slow) = (classes[n % 3], n % 4001 == 7);
        let text = match n % 5 {
            4 => "garbage".to_owned(),
            _ => run_of(class, slow),
        };
        input += &format!("{text}\n");
        let said = if n % 5 == 4 {
            Conclusion::Unreadable
        } else {
            class
        };
        wanted.push(format!("{} {said}", n + 1));
    }
    let output = Output::default();
    let report = run(input, output.clone()).await;
    assert!(output.lines() == wanted, "order or count differs");
    assert_eq!(report.verdicts.values().sum::<u64>(), 20_000);
    assert_eq!(report.verdicts["unreadable"], 4000);
    assert_eq!((report.ended, report.unwritten), (StreamEnd::Input, 0));
}

/// A desk that is slower than its reader leaves the reader waiting, and holds a bounded part of what it
/// sent.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_more_than_can_be_asked_waits() {
    let line = format!("{}\n", run_of(Conclusion::Consistent, true));
    let lines = 20_000;
    let taken = Arc::new(AtomicUsize::new(0));
    let input = Counted {
        left: io::Cursor::new(line.repeat(lines).into_bytes()),
        taken: Arc::clone(&taken),
    };
    let output = Output::default();
    let desk = Arc::new(FakeDesk::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let running = tokio::spawn(stream::run(input, output.clone(), desk, form, stopped));
    // As many as are asked at once are taken, and no more until the first of them are answered.
    let lines_taken = || taken.load(Ordering::SeqCst) / line.len();
    while lines_taken() < 1000 {
        assert!(!running.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (held, said) = (lines_taken(), output.lines().len());
    assert!(
        held < 2500 + said,
        "{held} lines were taken, {said} answered"
    );
    // Told to stop, it answers what it has asked, and takes no more.
    stop.send(()).unwrap();
    let report = running.await.unwrap().unwrap();
    assert_eq!(report.ended, StreamEnd::Stopped);
    let said = output.lines();
    assert!((1..lines).contains(&said.len()), "{}", said.len());
    let order: Vec<String> = (1..=said.len())
        .map(|n| format!("{n} consistent"))
        .collect();
    assert!(said == order, "what was asked is answered in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_gone_ends_the_stream_and_says_what_was_lost() {
    struct Gone(usize);
    impl Write for Gone {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
                _ => {
                    self.0 -= 1;
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let desk = Arc::new(FakeDesk::default());
    let line = format!("{}\n", run_of(Conclusion::Consistent, false));
    let input = io::Cursor::new(line.repeat(50_000).into_bytes());
    let asking = Arc::clone(&desk);
    let never = std::future::pending();
    let report = stream::run(input, Gone(10), asking, form, never)
        .await
        .unwrap();
    assert_eq!(report.ended, StreamEnd::Output);
    assert_eq!(report.verdicts.values().sum::<u64>(), 10);
    // It did not go on asking for nobody.
    assert!(desk.asked() < 5000, "{}", desk.asked());
    assert!(report.unwritten > 0);
}

/// Half a zone from a reader that says no more is answered, though the input has not ended.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_zone_is_answered_when_nothing_follows() {
    struct Half(Vec<u8>, std::sync::mpsc::Receiver<()>);
    impl Read for Half {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                // Until the test is over.
                let _ = self.1.recv();
                return Ok(0);
            }
            let most = into.len().min(self.0.len());
            into[..most].copy_from_slice(&self.0[..most]);
            self.0.drain(..most);
            Ok(most)
        }
    }
    let [one, _] = passport(&number(Conclusion::Consistent, false));
    let (over, waits) = std::sync::mpsc::channel();
    let input = Half(format!("{one}\n").into_bytes(), waits);
    let output = Output::default();
    let desk = Arc::new(FakeDesk::default());
    let never = std::future::pending();
    let running = tokio::spawn(stream::run(input, output.clone(), desk, form, never));
    let started = Instant::now();
    while output.lines().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(output.lines(), ["1 unreadable"]);
    drop(over);
    let report = running.await.unwrap().unwrap();
    assert_eq!(report.ended, StreamEnd::Input);
}

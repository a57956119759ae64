//! What a server counts, as text for Prometheus and as JSON for people. Labels are bounded: outcomes, peers, codes. Nothing
//! here depends on a secret: no ids, no classes, no names of files.
use ir::Party;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Upper bounds of the classes of batch times, in seconds.
const SECONDS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

/// What the thread that computes is doing.
#[derive(Clone, Debug)]
pub struct Doing {
    /// In words.
    pub what: String,
    /// Since when.
    pub since: Instant,
}

/// Counters and gauges of one server.
pub struct Metrics {
    parties: u8,
    me: Party,
    /// First bytes of the program's hash.
    program: String,
    outcomes: [AtomicU64; 3],
    rounds: AtomicU64,
    sent: Vec<AtomicU64>,
    sessions: AtomicU64,
    batches: AtomicU64,
    samples: AtomicU64,
    last_batch: AtomicU64,
    seconds: [AtomicU64; SECONDS.len() + 1],
    micros: AtomicU64,
    aborts: [AtomicU64; 256],
    ready: AtomicBool,
    /// Milliseconds from `start` to when the peers were last heard.
    heard: AtomicU64,
    busy: AtomicBool,
    start: Instant,
    doing: Mutex<Doing>,
    /// When the certificate of this party ends, in seconds since 1970, where links are encrypted.
    certificate_until: Option<i64>,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With an answer.
    Answered = 0,
    /// Without one, as it could not be taken.
    Refused = 1,
    /// Without one, as the session ended.
    Lost = 2,
}

impl Metrics {
    /// Of party `me`; `certificate_until` is the end of its certificate, in seconds since 1970, where it has one.
    pub fn new(me: Party, parties: u8, program: &[u8; 32], certificate_until: Option<i64>) -> Metrics {
        let now = Instant::now();
        Metrics {
            parties,
            me,
            program: program[..8].iter().map(|b| format!("{b:02x}")).collect(),
            outcomes: Default::default(),
            rounds: AtomicU64::new(0),
            sent: (0..parties).map(|_| AtomicU64::new(0)).collect(),
            sessions: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            last_batch: AtomicU64::new(0),
            seconds: Default::default(),
            micros: AtomicU64::new(0),
            aborts: std::array::from_fn(|_| AtomicU64::new(0)),
            ready: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            start: now,
            doing: Mutex::new(Doing { what: "starting".into(), since: now }),
            certificate_until,
        }
    }

    /// A request ends.
    pub fn ended(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// A session begins: the peers agree and the weights are shared.
    pub fn session(&self) {
        self.sessions.fetch_add(1, Relaxed);
        self.heard();
        self.ready.store(true, Relaxed);
    }

    /// A session ends, by itself or with an exit code.
    pub fn session_ended(&self, code: Option<u8>) {
        self.ready.store(false, Relaxed);
        self.busy.store(false, Relaxed);
        if let Some(code) = code {
            self.aborts[usize::from(code)].fetch_add(1, Relaxed);
        }
    }

    /// All peers were heard now.
    pub fn heard(&self) {
        self.heard.store(self.start.elapsed().as_millis() as u64, Relaxed);
    }

    /// A batch begins, of so many samples.
    pub fn batch_begins(&self, samples: usize) {
        self.last_batch.store(samples as u64, Relaxed);
        self.busy.store(true, Relaxed);
    }

    /// It ends well.
    pub fn batch_ends(&self, samples: usize, rounds: u32, sent: &[u64], took: Duration) {
        self.busy.store(false, Relaxed);
        self.heard();
        self.batches.fetch_add(1, Relaxed);
        self.samples.fetch_add(samples as u64, Relaxed);
        self.rounds.fetch_add(rounds.into(), Relaxed);
        self.sent.iter().zip(sent).for_each(|(all, more)| _ = all.fetch_add(*more, Relaxed));
        let class = SECONDS.iter().position(|most| took.as_secs_f64() <= *most).unwrap_or(SECONDS.len());
        self.seconds[class].fetch_add(1, Relaxed);
        self.micros.fetch_add(took.as_micros() as u64, Relaxed);
    }

    /// Says what is being done.
    pub fn doing(&self, what: impl Into<String>) {
        let now = Doing { what: what.into(), since: Instant::now() };
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Whether requests are computed: all peers agree, and were heard a short time ago unless a batch is under way.
    pub fn is_ready(&self) -> bool {
        let quiet = self.start.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Relaxed)));
        self.ready.load(Relaxed) && (self.busy.load(Relaxed) || quiet < Duration::from_secs(4))
    }

    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.outcomes[0].load(Relaxed)
    }

    /// One JSON object.
    pub fn status(&self, queued: usize, draining: bool) -> String {
        let doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let [answered, refused, lost] = [0, 1, 2].map(|i: usize| self.outcomes[i].load(Relaxed));
        let object = serde_json::json!({
            "schema": 1, "party": self.me.0, "program": self.program, "version": env!("CARGO_PKG_VERSION"),
            "ready": self.is_ready(), "draining": draining, "doing": doing.what,
            "doing_s": doing.since.elapsed().as_secs_f64(), "queued": queued, "sessions": self.sessions.load(Relaxed),
            "answered": answered, "refused": refused, "lost": lost,
        });
        object.to_string()
    }

    /// All metrics in the text form of Prometheus.
    pub fn text(&self, queued: usize) -> String {
        let mut s = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, f64)>| {
            let _ = writeln!(s, "# HELP qnnvm_{name} {help}\n# TYPE qnnvm_{name} {kind}");
            lines.into_iter().for_each(|(labels, value)| _ = writeln!(s, "qnnvm_{name}{labels} {value}"));
        };
        let one = |value: f64| vec![(String::new(), value)];
        let get = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        let outcomes = ["answered", "refused", "lost"].iter().zip(&self.outcomes);
        let outcomes = outcomes.map(|(name, n)| (format!("{{outcome=\"{name}\"}}"), get(n))).collect();
        family("inferences_total", "counter", "Requests by how they ended.", outcomes);
        family(
            "rounds_total",
            "counter",
            "Rounds of all batches.",
            vec![("{phase=\"online\"}".into(), get(&self.rounds))],
        );
        let peers = || (0..self.parties).filter(|p| *p != self.me.0);
        let sent = peers().map(|p| (format!("{{peer=\"{p}\",phase=\"online\"}}"), get(&self.sent[usize::from(p)])));
        family("sent_bytes_total", "counter", "Payload bytes sent.", sent.collect());
        let up = f64::from(u8::from(self.is_ready()));
        let peers_up = peers().map(|p| (format!("{{peer=\"{p}\"}}"), up)).collect();
        family("peer_up", "gauge", "Whether the peer agrees and answers.", peers_up);
        family("sessions_total", "counter", "Sessions that began.", one(get(&self.sessions)));
        family("batches_total", "counter", "Batches computed.", one(get(&self.batches)));
        family("samples_total", "counter", "Samples computed.", one(get(&self.samples)));
        family("batch_size", "gauge", "Samples of the last batch.", one(get(&self.last_batch)));
        family("queue_length", "gauge", "Requests that wait.", one(queued as f64));
        let mut all = 0.0;
        let mut lines: Vec<(String, f64)> = Vec::new();
        let bounds = SECONDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, n) in bounds.zip(&self.seconds) {
            all += get(n);
            lines.push((format!("_bucket{{le=\"{bound}\"}}"), all));
        }
        lines.push(("_sum".into(), get(&self.micros) / 1e6));
        lines.push(("_count".into(), all));
        family("batch_seconds", "histogram", "Time of a batch.", lines);
        let codes = self.aborts.iter().enumerate().filter(|(code, n)| *code == 20 || get(n) > 0.0);
        let codes = codes.map(|(code, n)| (format!("{{code=\"{code}\"}}"), get(n))).collect();
        family("aborts_total", "counter", "Sessions that failed, by exit code.", codes);
        let build = format!("{{version=\"{}\",program=\"{}\"}}", env!("CARGO_PKG_VERSION"), self.program);
        family("build_info", "gauge", "Release and program.", vec![(build, 1.0)]);
        if let Some(until) = self.certificate_until {
            family(
                "certificate_expiry_seconds",
                "gauge",
                "End of this party's certificate, since 1970.",
                one(until as f64),
            );
        }
        if let Some(bytes) = resident() {
            family(
                "memory_bytes",
                "gauge",
                "Memory of the process.",
                vec![("{kind=\"resident\"}".into(), bytes as f64)],
            );
        }
        if let Ok(dir) = std::fs::read_dir("/proc/self/fd") {
            family("open_descriptors", "gauge", "Descriptors of the process.", one(dir.count() as f64));
        }
        s
    }
}

/// Resident memory of this process, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

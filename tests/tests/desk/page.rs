//! The page in a real browser: scanned into, read by eye and by ear, by keyboard alone.
//!
//! `TALLY_PICTURES=DIR` keeps a picture of every verdict in every form.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;
use tallystick_client::desk::Conclusion;
use tallystick_tests::{
    browser::{Browser, ENTER, ESCAPE, SPACE, TAB},
    fake_desk::{HELD, HOSTILE, Served, number, passport},
};

const DARK: (&str, &str) = ("prefers-color-scheme", "dark");
const CONTRAST: (&str, &str) = ("prefers-contrast", "more");
const FORCED: (&str, &str) = ("forced-colors", "active");

fn open(browser: &Browser, served: &Served) {
    let (address, token) = (served.address, &served.token);
    browser.open(&format!("http://{address}/#token={token}"));
    browser.until("document.getElementById('lists-line').textContent.includes('of 2')");
}

/// Scans a passport, as a reader that sends Enter behind each line.
fn scan(browser: &Browser, conclusion: Conclusion, slow: bool) {
    let [one, two] = passport(&number(conclusion, slow));
    browser.keys(&format!("{one}{ENTER}{two}{ENTER}"));
}

fn shows(conclusion: Conclusion) -> String {
    let name = conclusion.name();
    format!("document.getElementById('verdict').dataset.conclusion === '{name}'")
}

fn text(browser: &Browser, id: &str) -> String {
    let text = browser.script(&format!(
        "return document.getElementById('{id}').textContent"
    ));
    text.as_str().unwrap().to_owned()
}

fn field(browser: &Browser) -> String {
    let value = browser.script("return document.getElementById('zone').value");
    value.as_str().unwrap().to_owned()
}

fn focus(browser: &Browser) -> String {
    let id = browser.script("return document.activeElement.id || document.activeElement.tagName");
    id.as_str().unwrap().to_owned()
}

const READY: &str = "document.getElementById('verdict').dataset.conclusion === 'ready'";

#[test]
fn a_scan_brings_the_verdict_in_words_for_eye_and_ear() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    open(&browser, &served);
    let mut asked = 0;
    for conclusion in Conclusion::ALL {
        if conclusion == Conclusion::Unreadable {
            continue;
        }
        let started = Instant::now();
        scan(&browser, conclusion, false);
        browser.until(&shows(conclusion));
        assert!(started.elapsed() < Duration::from_secs(20), "{conclusion}");
        asked += 1;
        // The Enter behind the last line asked once, though the page would have asked by itself.
        assert_eq!(served.desk.asked(), asked);
        assert_eq!(text(&browser, "headline"), conclusion.headline());
        let said = text(&browser, "said");
        assert!(said.starts_with(conclusion.headline()), "{said}");
        for id in ["reasons", "missing"] {
            let script = format!(
                "return [...document.querySelectorAll('#{id} > li')].map((one) => \
                 (one.querySelector('p') || one).textContent)"
            );
            for line in browser.script(&script).as_array().unwrap() {
                assert!(
                    said.contains(line.as_str().unwrap()),
                    "{line} is not said: {said}"
                );
            }
        }
        // A missing answer stands there whatever else is found.
        let lacks = [Conclusion::Incomplete, Conclusion::Watchlisted].contains(&conclusion);
        assert_eq!(
            said.contains("No answer from south / register"),
            lacks,
            "{said}"
        );
        let unproved = text(&browser, "unproved");
        assert!(unproved.contains("Image and chip"), "{unproved}");
        // For the next scan.
        assert_eq!(focus(&browser), "zone");
    }
    let symbols =
        browser.script("return [...new Set(Object.values(TONES).map(([s]) => s))].length");
    assert_eq!(symbols, Conclusion::ALL.len());
    let known = browser.script("return Object.keys(TONES)");
    let names: Vec<&str> = Conclusion::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(known, serde_json::json!(names));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn half_a_zone_is_not_asked_and_garbage_is_said_to_be_none() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    open(&browser, &served);
    let [one, two] = passport(&number(Conclusion::Consistent, false));
    browser.keys(&format!("{one}{ENTER}"));
    browser.until("document.getElementById('zone-note').textContent.startsWith('Half a zone')");
    browser.keys(&two[..20]);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(served.desk.asked(), 0);
    assert_eq!(browser.script(&format!("return {READY}")), true);
    // A person who insists, by a second Enter, is told that it cannot be read.
    browser.keys(&format!("{ENTER}{ENTER}"));
    browser.until(&shows(Conclusion::Unreadable));
    assert!(text(&browser, "said").starts_with("Not read: scan again"));
    // The next scan takes its place.
    scan(&browser, Conclusion::Consistent, false);
    browser.until(&shows(Conclusion::Consistent));
    for garbage in ["hello", "9780306406157", "<<<<<<"] {
        browser.keys(&format!("{garbage}{ENTER}"));
        browser.until(&shows(Conclusion::Unreadable));
        browser.keys(ESCAPE);
        browser.until(READY);
    }
    assert_eq!(served.desk.asked(), 1);
}

#[test]
fn a_zone_that_is_pasted_or_comes_without_enter_is_asked_by_itself() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    open(&browser, &served);
    let [one, two] = passport(&number(Conclusion::NeverIssued, false));
    browser.keys(&format!("{one}{two}"));
    browser.until(&shows(Conclusion::NeverIssued));
    // A late Enter of the reader asks nothing again.
    browser.keys(ENTER);
    browser.keys(ESCAPE);
    // Wherever the focus is.
    let _ = browser.script("document.getElementById('clear').focus()");
    let [one, two] = passport(&number(Conclusion::Reported, false));
    let paste = format!(
        "const data = new DataTransfer(); data.setData('text/plain', '{one}\\r\\n{two}\\r\\n'); \
         document.dispatchEvent(new ClipboardEvent('paste', {{clipboardData: data, bubbles: true}}))"
    );
    let _ = browser.script(&paste);
    browser.until(&shows(Conclusion::Reported));
    assert_eq!(served.desk.asked(), 2);
}

#[test]
fn an_old_verdict_never_stands_for_the_next_document() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let mut served = Served::new();
    open(&browser, &served);
    scan(&browser, Conclusion::Consistent, false);
    browser.until(&shows(Conclusion::Consistent));
    let [one, two] = passport(HELD);
    browser.keys(&format!("{one}{ENTER}{two}{ENTER}"));
    browser.until("document.getElementById('verdict').dataset.conclusion === 'busy'");
    assert_eq!(text(&browser, "reasons"), "");
    assert_eq!(text(&browser, "headline"), "Asking");
    // Another that is scanned meanwhile waits for its turn, and that is said.
    scan(&browser, Conclusion::NeverIssued, false);
    served.desk.release();
    browser.until("document.getElementById('said').textContent.startsWith('Document reported')");
    browser.until("document.getElementById('zone-note').textContent.startsWith('Another zone')");
    assert_eq!(served.desk.asked(), 2);
    browser.keys(ENTER);
    browser.until(&shows(Conclusion::NeverIssued));
    assert_eq!(served.desk.asked(), 3);
    // The program behind it is gone.
    served.end().join().unwrap();
    scan(&browser, Conclusion::Consistent, false);
    browser.until("document.getElementById('verdict').dataset.conclusion === 'no-service'");
    let said = text(&browser, "said");
    assert!(
        said.contains("Nothing was found out about this document"),
        "{said}"
    );
    browser.until("document.getElementById('lists-line').textContent.startsWith('No answer')");
}

#[test]
fn a_slow_answer_is_said_to_be_slow() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    open(&browser, &served);
    scan(&browser, Conclusion::Consistent, true);
    browser.until("document.getElementById('said').textContent.startsWith('Still waiting')");
    browser.until(&shows(Conclusion::Consistent));
}

/// Nothing of a traveller stays: not on the page, not in the browser.
#[test]
fn it_forgets() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::at("127.0.0.1:0", Duration::from_secs(8));
    open(&browser, &served);
    let number = number(Conclusion::Reported, false);
    let page = "document.documentElement.innerHTML + document.getElementById('zone').value";
    for how in ["time", "Esc", "reload"] {
        scan(&browser, Conclusion::Reported, false);
        browser.until(&shows(Conclusion::Reported));
        // It can be read again, until it is cleared.
        assert!(field(&browser).contains(&number));
        match how {
            "Esc" => browser.keys(ESCAPE),
            "reload" => {
                let _ = browser.script("location.reload()");
            }
            _ => {}
        }
        browser.until(READY);
        let left = browser.script(&format!("return {page}"));
        let left = left.as_str().unwrap();
        assert!(
            !left.contains(&number) && !left.contains("reports it as stolen"),
            "{how}"
        );
        assert!(!text(&browser, "said").contains("reported"), "{how}");
    }
    let kept = browser.script(
        "return [localStorage.length, Object.keys(sessionStorage).join(), document.cookie, \
         location.href, history.state, JSON.stringify(performance.getEntries()).includes('P<UTO')]",
    );
    let address = format!("http://{}/", served.address);
    assert_eq!(
        kept,
        serde_json::json!([0, "token", "", address, null, false])
    );
    let databases = browser.script("return indexedDB.databases().then((all) => all.length)");
    assert_eq!(databases, 0);
    let caches =
        browser.script("return 'caches' in window ? caches.keys().then((k) => k.length) : 0");
    assert_eq!(caches, 0);
}

#[test]
fn without_its_key_it_asks_for_it() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    browser.open(&format!("http://{}/", served.address));
    browser.until("!document.getElementById('unlock').hidden");
    assert_eq!(focus(&browser), "key");
    browser.keys(&format!("{}{ENTER}", "0".repeat(64)));
    browser.until("document.getElementById('said').textContent.includes('needs its key')");
    browser.until("!document.getElementById('unlock').hidden");
    browser.keys(&format!("{}{ENTER}", served.token));
    browser.until("document.getElementById('lists-line').textContent.includes('of 2')");
    scan(&browser, Conclusion::Consistent, false);
    browser.until(&shows(Conclusion::Consistent));
    // A key of an earlier start.
    let next = Served::new();
    let _ = browser.script(&format!(
        "sessionStorage.setItem('token', '{}'); key = '{}'; return 1",
        next.token, next.token
    ));
    scan(&browser, Conclusion::Consistent, false);
    browser.until("!document.getElementById('unlock').hidden");
    assert_eq!(browser.script("return sessionStorage.length"), 0);
    assert_eq!((served.desk.asked(), field(&browser)), (1, String::new()));
}

#[test]
fn a_label_is_text_and_nothing_comes_from_elsewhere() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    open(&browser, &served);
    scan(&browser, Conclusion::Reported, false);
    browser.until(&shows(Conclusion::Reported));
    assert!(text(&browser, "reasons").contains(HOSTILE));
    let count =
        browser.script("return document.querySelectorAll('#verdict img, #verdict script').length");
    assert_eq!(
        (count, browser.script("return document.title")),
        (0.into(), "Border desk".into())
    );
    let places = browser.script(
        "return [...new Set(performance.getEntriesByType('resource').map((one) => \
         new URL(one.name).origin))]",
    );
    assert_eq!(
        places,
        serde_json::json!([format!("http://{}", served.address)])
    );
    assert_eq!(browser.complaints(), [""; 0]);
    // What the policy forbids does not run.
    let _ = browser.script(
        "const bad = document.createElement('script'); bad.textContent = 'window.owned = 1'; \
         document.body.append(bad); const css = document.createElement('style'); \
         css.textContent = 'body {display: none}'; document.body.append(css)",
    );
    assert_eq!(browser.script("return window.owned === undefined"), true);
    assert_ne!(
        browser.script("return getComputedStyle(document.body).display"),
        "none"
    );
    assert!(!browser.complaints().is_empty());
}

#[test]
fn the_keyboard_is_enough_and_scans_land_in_the_field() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    open(&browser, &served);
    assert_eq!(focus(&browser), "zone");
    // Every control is reached by Tab, in the order in which it is read, and each shows where it is.
    let mut reached = vec![focus(&browser)];
    for _ in 0..4 {
        browser.keys(TAB);
        reached.push(focus(&browser));
        let outline =
            browser.script("return getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(outline, "solid", "{reached:?}");
    }
    assert_eq!(reached, ["zone", "send", "clear", "SUMMARY", "SUMMARY"]);
    // Tab leaves the field: nobody is trapped in it.
    let _ = browser.script("document.querySelector('#by-hand summary').focus()");
    browser.keys(SPACE);
    browser.keys(TAB);
    assert_eq!(focus(&browser), "f-number");
    browser.keys(&format!(
        "H1234567{TAB}UTO{TAB}Eriksson{TAB}Anna{TAB}1974-08-12{ENTER}"
    ));
    browser.until(&shows(Conclusion::OtherHolder));
    // The verdict has the focus then, so that it is read from there.
    assert_eq!(focus(&browser), "headline");
    browser.keys(ESCAPE);
    browser.until(READY);
    assert_eq!(
        browser.script("return document.getElementById('f-number').value"),
        ""
    );
    // A scan while the focus is on a button.
    let _ = browser.script("document.getElementById('clear').focus()");
    scan(&browser, Conclusion::Consistent, false);
    browser.until(&shows(Conclusion::Consistent));
    // A click beside everything.
    browser.click(640, 5);
    assert_eq!(focus(&browser), "zone");
    assert_eq!(served.desk.asked(), 2);
}

#[test]
fn assistive_programs_are_told_what_everything_is() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    open(&browser, &served);
    scan(&browser, Conclusion::Watchlisted, false);
    browser.until(&shows(Conclusion::Watchlisted));
    for (selector, role, name) in [
        ("#zone", "textbox", "Machine-readable zone"),
        ("#send", "button", "Check"),
        ("#clear", "button", "Clear"),
        ("#headline", "heading", "On a watchlist"),
        ("#verdict", "region", "On a watchlist"),
        ("#said", "alert", ""),
        ("h1", "heading", "Border desk"),
    ] {
        let (found, label) = browser.told(selector);
        assert_eq!((found.as_str(), label.as_str()), (role, name), "{selector}");
    }
    let said = "const said = document.getElementById('said'); return [said.ariaLive, said.ariaAtomic, \
                getComputedStyle(said).display !== 'none', document.documentElement.lang, \
                document.querySelector('.symbol').ariaHidden]";
    assert_eq!(
        browser.script(said),
        serde_json::json!(["assertive", "true", true, "en", "true"])
    );
    // No heading is skipped, and every field has a name.
    let levels = browser.script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].filter((h) => h.offsetParent).map((h) => h.tagName)",
    );
    assert_eq!(levels, serde_json::json!(["H1", "H2", "H3", "H3", "H3"]));
    let nameless = browser.script(
        "return [...document.querySelectorAll('input,textarea')].filter((f) => !f.labels.length).length",
    );
    assert_eq!(nameless, 0);
}

/// Text whose colours are too near to each other, and what is wider than the window.
const UNREADABLE: &str = r"
    const luminance = ([r, g, b]) => {
      const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const colour = (text) => text.match(/[\d.]+/g).map(Number);
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const found = colour(getComputedStyle(at).backgroundColor);
        if (found.length === 3 || found[3] === 1) return found;
      }
      return [255, 255, 255];
    };
    const bad = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (walker.currentNode.textContent.trim() === '' || !element.checkVisibility()) continue;
      if (element.closest('.unseen, script')) continue;
      const [a, b] = [luminance(colour(getComputedStyle(element).color)), luminance(ground(element))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      seen += 1;
      if (ratio < LEAST) bad.push(`${walker.currentNode.textContent}: ${ratio}`);
      const box = element.getBoundingClientRect();
      if (box.right > innerWidth + 1 || box.left < -1) bad.push(`${walker.currentNode.textContent}: too wide`);
    }
    if (seen < 10) bad.push(`only ${seen} texts were looked at`);
    if (document.documentElement.scrollWidth > innerWidth) bad.push('the page scrolls sideways');
    return bad;
";

#[test]
fn every_word_can_be_read_in_every_form() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    let pictures = std::env::var_os("TALLY_PICTURES").map(PathBuf::from);
    type Form<'a> = (&'a str, u32, u32, &'a [(&'a str, &'a str)], f64);
    let forms: [Form<'_>; 6] = [
        ("desk", 1280, 800, &[], 4.5),
        ("dark", 1280, 800, &[DARK], 4.5),
        ("phone", 390, 844, &[], 4.5),
        ("narrow", 320, 640, &[DARK], 4.5),
        ("contrast", 1280, 800, &[CONTRAST], 7.0),
        ("forced", 1280, 800, &[FORCED, DARK], 7.0),
    ];
    for (form, width, height, features, least) in forms {
        browser.set(width, height, features);
        open(&browser, &served);
        let mut all = vec![("ready", None)];
        all.extend(Conclusion::ALL.map(|conclusion| (conclusion.name(), Some(conclusion))));
        for (name, conclusion) in all {
            match conclusion {
                None => {}
                Some(Conclusion::Unreadable) => {
                    browser.keys(&format!("{ESCAPE}garbage{ENTER}"));
                    browser.until(&shows(Conclusion::Unreadable));
                }
                Some(conclusion) => {
                    browser.keys(ESCAPE);
                    scan(&browser, conclusion, false);
                    browser.until(&shows(conclusion));
                }
            }
            let bad = browser.script(&UNREADABLE.replace("LEAST", &least.to_string()));
            assert_eq!(bad, Value::Array(Vec::new()), "{form}, {name}");
            if let Some(folder) = &pictures {
                fs::write(folder.join(format!("{form}-{name}.png")), browser.picture()).unwrap();
            }
            // The words of the verdict, at arm's length, without scrolling.
            let headline = browser.script(
                "const box = document.getElementById('headline').getBoundingClientRect(); \
                 return [parseFloat(getComputedStyle(document.getElementById('headline')).fontSize), \
                 box.bottom <= innerHeight]",
            );
            let size = headline[0].as_f64().unwrap();
            assert!(
                size >= if width < 600 { 28.0 } else { 64.0 },
                "{form}: {size}"
            );
            assert_eq!(headline[1], true, "{form}, {name}: below the window's end");
        }
    }
}

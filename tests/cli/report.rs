//! The human-readable report: one self-contained HTML file.

use std::fs;
use std::path::Path;

use flawd::synthetic::DefectKind;
use flawd_testing::files::copy_folder;
use roxmltree::{Document, Node, ParsingOptions};
use tempfile::TempDir;

use crate::arguments;
use crate::fixture::{bundle, copy_of_bundle, data, flawd, json};

/// The page of an evaluation.
fn page(bundle: &Path, data: &Path) -> String {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("deep/report.html");
    flawd(arguments!["evaluate", bundle, data, "--html", &path]).succeeded();
    read(&path)
}

/// Reads a page as XML, which is stricter than HTML: only elements without an end tag are closed.
fn read(path: &Path) -> String {
    let page = fs::read_to_string(path).expect("it was written");
    ["<br", "<img", "<meta"].iter().fold(page, |page, start| {
        let mut pieces = page.split(start);
        let before = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(before, |page, piece| {
            let (tag, rest) = piece.split_once('>').expect("a tag ends");
            page + start + tag + "/>" + rest
        })
    })
}

/// Parses a page that was read.
fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).expect("the page is well-formed")
}

fn elements<'a>(document: &'a Document<'_>, name: &'a str) -> Vec<Node<'a, 'a>> {
    let nodes = document.descendants();
    nodes.filter(|node| node.has_tag_name(name)).collect()
}

/// All text of an element.
fn text(node: Node<'_, '_>) -> String {
    node.descendants().filter_map(|node| node.text()).collect()
}

fn section<'a>(document: &'a Document<'_>, id: &str) -> Option<Node<'a, 'a>> {
    document
        .descendants()
        .find(|node| node.attribute("id") == Some(id))
}

#[test]
fn a_report_asks_for_nothing_outside_itself() {
    let page = page(bundle(), data());
    let document = parse(&page);
    for node in document.descendants().filter(Node::is_element) {
        for attribute in node.attributes() {
            let value = attribute.value();
            if ["src", "href", "action", "data", "srcset", "poster"].contains(&attribute.name()) {
                let inside =
                    value.starts_with("data:image/jpeg;base64,/9j/") || value.starts_with('#');
                assert!(inside, "{}: {value:.60}", attribute.name());
            }
            assert!(!attribute.name().starts_with("on"), "{}", attribute.name());
            assert!(
                !value.contains("://") && !value.contains("url("),
                "{value:.60}"
            );
        }
        for forbidden in [
            "script", "link", "iframe", "object", "embed", "form", "base",
        ] {
            assert!(!node.has_tag_name(forbidden), "{forbidden}");
        }
    }
    let [style] = elements(&document, "style")[..] else {
        panic!("there is one style sheet");
    };
    for forbidden in ["url(", "@import", "@font-face", "//"] {
        assert!(!text(style).contains(forbidden), "{forbidden}");
    }
    let policy = elements(&document, "meta")
        .into_iter()
        .find(|meta| meta.attribute("http-equiv") == Some("Content-Security-Policy"))
        .expect("there is a policy");
    let policy = policy.attribute("content").expect("it says something");
    assert!(policy.contains("default-src 'none'") && policy.contains("img-src data:"));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

#[test]
fn a_report_has_every_section_with_its_plots_pictures_and_numbers() {
    let folder = TempDir::new().expect("a temporary folder");
    let [path, numbers] = ["report.html", "report.json"].map(|name| folder.path().join(name));
    let arguments = arguments![
        "evaluate",
        bundle(),
        data(),
        "--html",
        &path,
        "--json",
        &numbers,
        "--seed",
        "7"
    ];
    flawd(arguments).succeeded();
    let page = read(&path);
    let document = parse(&page);
    let report = json(&numbers);
    let plots = |id: &str| {
        let section = section(&document, id).unwrap_or_else(|| panic!("no section {id}"));
        let svg = section
            .descendants()
            .filter(|node| node.attribute("role") == Some("img"));
        svg.count()
    };
    for (id, count) in [
        ("c1-summary", 0),
        ("c1-scores", 3),
        ("c1-kinds", 0),
        ("c1-promise", 3),
        ("c1-thresholds", 0),
        ("c1-pictures", 0),
        ("c1-training", 1),
        ("c1-provenance", 0),
    ] {
        assert_eq!(plots(id), count, "plots in {id}");
    }
    let of = |id: &str| text(section(&document, id).expect("checked above"));
    let counts = &report["counts"];
    let summary = of("c1-summary");
    for said in [
        format!(
            "{} of {} were rejected",
            counts["false_rejects"], counts["good"]
        ),
        format!(
            "{} of {} were not rejected",
            counts["escapes"], counts["defect"]
        ),
        "What this does not claim".to_owned(),
    ] {
        assert!(summary.contains(&said), "{said}: {summary}");
    }
    let kinds = of("c1-kinds");
    for kind in DefectKind::ALL {
        assert!(kinds.contains(kind.name()), "{kinds}");
    }
    // Six pictures of each sort, each with its overlay.
    let pictures = section(&document, "c1-pictures").expect("checked above");
    let images = pictures
        .descendants()
        .filter(|node| node.has_tag_name("img"));
    assert_eq!(images.count(), 24);
    let provenance = of("c1-provenance");
    for known in [
        report["model"].as_str().expect("a digest"),
        report["files"].as_str().expect("a digest"),
        report["golden"][0]["file"].as_str().expect("a name"),
        "--seed 7",
        "a good part is rejected with a probability of at most 0.1",
    ] {
        assert!(provenance.contains(known), "{known}: {provenance}");
    }
}

#[test]
fn names_from_outside_are_shown_and_never_markup() {
    const NAME: &str = "<img src='x' onerror=\"a()\">&amp;";
    let folder = TempDir::new().expect("a temporary folder");
    copy_folder(&data().join("test/good"), &folder.path().join("test/good"));
    let odd = folder.path().join("test").join(NAME);
    copy_folder(&data().join("test/stain"), &odd);
    fs::write(odd.join("<broken>.png"), b"no image").expect("it can be written");
    let page = page(bundle(), folder.path());
    let document = parse(&page);
    assert!(
        elements(&document, "img")
            .iter()
            .all(|image| image.has_attribute("alt"))
    );
    let kinds = section(&document, "c1-kinds").expect("there are defects");
    assert!(text(kinds).contains(NAME));
    let provenance = section(&document, "c1-provenance").expect("always there");
    assert!(text(provenance).contains("<broken>.png"));
}

#[test]
fn a_report_of_good_parts_alone_leaves_out_what_they_do_not_determine() {
    let folder = TempDir::new().expect("a temporary folder");
    copy_folder(&data().join("test/good"), &folder.path().join("test/good"));
    let page = page(bundle(), folder.path());
    let document = parse(&page);
    assert!(section(&document, "c1-kinds").is_none());
    let summary = text(section(&document, "c1-summary").expect("always there"));
    assert!(summary.contains("no defect was tested"), "{summary}");
}

/// The losses of the epochs came into the manifest later than the manifest.
#[test]
fn a_bundle_that_does_not_know_its_losses_opens_and_has_no_curve() {
    let copy = copy_of_bundle();
    let manifest = copy.path().join("bundle.toml");
    let text = fs::read_to_string(&manifest).expect("it is there");
    let start = text.find("losses = ").expect("a new bundle has them");
    let end = start + text[start..].find(']').expect("it is a list") + 1;
    fs::write(&manifest, text[..start].to_owned() + &text[end..]).expect("it can be written");
    let page = page(copy.path(), data());
    assert!(section(&parse(&page), "c1-training").is_none());
}

#[test]
fn a_page_of_several_categories_has_them_all() {
    let place = TempDir::new().expect("a temporary folder");
    for folder in ["bundles", "images"] {
        fs::create_dir(place.path().join(folder)).expect("it can be made");
    }
    for name in ["a", "b&c"] {
        let link = |from: &Path, to: &str| {
            std::os::unix::fs::symlink(from, place.path().join(to).join(name)).expect("a link");
        };
        link(bundle(), "bundles");
        link(data(), "images");
    }
    let page = page(&place.path().join("bundles"), &place.path().join("images"));
    let document = parse(&page);
    let overview = text(section(&document, "overview").expect("an overview"));
    for said in ["b&c", "mean", "What this does not claim"] {
        assert!(overview.contains(said), "{overview}");
    }
    for id in ["c1", "c2", "c1-scores", "c2-scores", "c2-provenance"] {
        assert!(section(&document, id).is_some(), "{id}");
    }
    for link in elements(&document, "a") {
        let target = link.attribute("href").expect("a link leads somewhere");
        assert!(section(&document, &target[1..]).is_some(), "{target}");
    }
}

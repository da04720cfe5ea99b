import Reporting

/// What all pages have around them.
struct Frame {
  enum Place {
    case sweeps
    case schedules
    case hosts
    case none
  }

  var title: String
  var place: Place
  var body: Markup
  /// Seconds after which a reader without JavaScript gets the page anew, and the way to the page that stands still.
  var refresh: (seconds: Int, still: String)?
  /// Loads what keeps the page up to date.
  var isLive = false

  var html: String {
    var head: Markup = """
      <!DOCTYPE html>
      <html lang="en"><head><meta charset="utf-8"/>\
      <meta name="viewport" content="width=device-width,initial-scale=1"/>\
      <meta name="color-scheme" content="light dark"/><link rel="icon" href="data:,"/>\
      <link rel="stylesheet" href="\(Assets.stylePath)"/><title>\(title) · Rollcall</title>
      """
    if isLive { head += "<script src=\"\(Assets.scriptPath)\" defer=\"defer\"></script>" }
    if let refresh {
      head += "<noscript><meta http-equiv=\"refresh\" content=\"\(refresh.seconds)\"/></noscript>"
    }
    head += "</head>\n<body><a class=\"skip\" href=\"#main\">Skip to the content</a>"
    head += "<nav aria-label=\"Pages\"><b>Rollcall</b>\(entry("Sweeps", link(), .sweeps))"
    head += "\(entry("Schedules", link("schedules"), .schedules))"
    head += "\(entry("Hosts", link("hosts"), .hosts))</nav>\n<main id=\"main\">\(body)"
    if let refresh {
      head += """
        <noscript><p class="small soft">This page comes anew every \(refresh.seconds) seconds. \
        <a href="\(refresh.still)">Let it stand still</a></p></noscript>
        """
    }
    head += "</main></body></html>\n"
    return head.source
  }

  private func entry(_ name: String, _ path: String, _ own: Place) -> Markup {
    place == own
      ? "<a href=\"\(path)\" aria-current=\"page\">\(name)</a>" : "<a href=\"\(path)\">\(name)</a>"
  }
}

/// Parts that several pages have.
enum Part {
  static func verdict(_ word: String?) -> Markup {
    switch word {
    case "pass": "<span class=\"v pass\">PASS</span>"
    case "fail": "<span class=\"v fail\">FAIL</span>"
    case "inconclusive": "<span class=\"v inconclusive\">INCONCLUSIVE</span>"
    default: "<span class=\"soft\">–</span>"
    }
  }

  /// A state's word; the sign before it tells it without colour.
  static func state(_ word: String, count: Int? = nil) -> Markup {
    let tone: Markup
    let sign: Markup
    switch word {
    case "queued": (tone, sign) = ("wait", "○")
    case "launching", "running", "gathering", "active": (tone, sign) = ("live", "◐")
    case "succeeded", "done": (tone, sign) = ("good", "●")
    case "cancelled", "cancelling", "detached", "skipped": (tone, sign) = ("wait", "◌")
    default: (tone, sign) = ("bad", "✕")
    }
    let number = count.map { "\($0) " } ?? ""
    return "<span class=\"st \(tone)\"><span aria-hidden=\"true\">\(sign)</span> \(number)\(word)</span>"
  }

  static func facts(_ pairs: [(String, Markup)]) -> Markup {
    let entries = pairs.map { "<div><dt>\($0.0)</dt><dd>\($0.1)</dd></div>" as Markup }
    return "<dl class=\"facts\">\(entries)</dl>"
  }

  static func time(_ seconds: Double?) -> Markup {
    guard let seconds else { return "–" }
    return "<time>\(Figures.time(seconds))</time>"
  }

  /// A table in a frame that scrolls by itself, which the keyboard reaches.
  static func table(_ name: String, _ columns: [String], _ rows: [Markup]) -> Markup {
    let heads = columns.map { "<th scope=\"col\">\($0)</th>" as Markup }
    return """
      <div class="scroll" tabindex="0" role="region" aria-label="\(name)"><table><thead><tr>\(heads)</tr></thead>\
      <tbody>\(rows)</tbody></table></div>
      """
  }
}

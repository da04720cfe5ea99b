/// What became of every file and every capture of both sides: compared, or listed with the reason.
public struct CoverageLedger: Sendable, Hashable, Codable {
  /// Why a file or a value in it was not compared.
  public enum Reason: String, Sendable, Hashable, Codable, CaseIterable {
    /// A file that cannot be read, or a value in it that cannot.
    case unreadable
    /// A file whose name the layout does not know.
    case unrecognised
    /// A dumped value that is no tensor: request ids, flags, lengths.
    case plain
    /// Older than the attempt: of an earlier run.
    case stale
    /// A second capture for one place, call and rank.
    case duplicate
    /// The other side has no capture of this place, or none in its chosen call.
    case noPartner = "no-partner"
    /// On this side only, and no name rule joins it with anything.
    case noRule = "no-rule"
    /// No call could be chosen for the stage.
    case undecidedCall = "undecided-call"
    /// Has a partner and could not be joined with it or read.
    case notMeasured = "not-measured"
    /// Of a rank that was not asked for.
    case otherRank = "other-rank"
    /// Of a call that was not chosen.
    case otherCall = "other-call"
    /// A file that was read and says what others hold: an index, a tree, call stacks.
    case index
  }

  /// One file, or some of its values, with one reason.
  public struct Entry: Sendable, Hashable, Codable {
    /// Relative to the side's directory.
    public var file: String
    /// Names of the values meant, as the file has them; empty: the file as a whole.
    public var values: [String]
    public var reason: Reason
    /// In words, where the reason does not say it all.
    public var why: String?

    public init(file: String, values: [String] = [], reason: Reason, why: String? = nil) {
      self.file = file
      self.values = values
      self.reason = reason
      self.why = why
    }

    /// What it counts for: its values, a file as a whole as one.
    public var count: Int { max(1, values.count) }
  }

  /// One side's account. `compared` and the counts of the entries make up all captures, and the files that gave none.
  public struct Side: Sendable, Hashable, Codable {
    /// Files in the directory.
    public var files: Int
    /// Captures and values found in them.
    public var captures: Int
    public var compared: Int
    /// Everything else: by reason, then by file and value.
    public var entries: [Entry]
    /// Entries that a shortened record leaves out; `counts` has them.
    public var omitted: Int
    /// Captures, values and whole files by reason.
    public var counts: [Reason: Int]

    public init(files: Int, captures: Int, compared: Int, entries: [Entry]) {
      self.files = files
      self.captures = captures
      self.compared = compared
      func place(_ entry: Entry) -> (Int, String, String, String) {
        (entry.reason.order, entry.file, entry.values.first ?? "", entry.why ?? "")
      }
      self.entries = entries.sorted { place($0) < place($1) }
      omitted = 0
      counts = entries.reduce(into: [:]) { $0[$1.reason, default: 0] += $1.count }
    }

    /// As it stands in a record that may have been shortened.
    init(files: Int, captures: Int, compared: Int, entries: [Entry], omitted: Int, counts: [Reason: Int]) {
      self.files = files
      self.captures = captures
      self.compared = compared
      self.entries = entries
      self.omitted = omitted
      self.counts = counts
    }
  }

  public var reference: Side
  public var target: Side

  public init(reference: Side, target: Side) {
    self.reference = reference
    self.target = target
  }
}

extension CoverageLedger.Reason {
  /// The gravest first.
  fileprivate var order: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

extension ComparisonReport {
  /// The same with the first entries of each reason in the coverage ledger: a sweep has many pairs, and a pair by
  /// itself can be compared again. Counts stay whole.
  public var withShortLedger: ComparisonReport {
    var report = self
    report.coverage.ledger?.reference.shorten(perReason: 25)
    report.coverage.ledger?.target.shorten(perReason: 25)
    return report
  }
}

extension CoverageLedger.Side {
  mutating func shorten(perReason limit: Int) {
    var seen: [CoverageLedger.Reason: Int] = [:]
    let kept = entries.filter { entry in
      seen[entry.reason, default: 0] += 1
      return seen[entry.reason, default: 0] <= limit
    }
    let (sum, overflow) = omitted.addingReportingOverflow(entries.count - kept.count)
    omitted = overflow ? .max : sum
    entries = kept
  }

  /// `576 captures in 192 files: 192 compared, 384 other-call (a.pt, b.pt, c.pt, …)`.
  func sentence(naming limit: Int) -> String {
    var parts = ["\(compared) compared"]
    for reason in CoverageLedger.Reason.allCases {
      guard let count = counts[reason] else { continue }
      let files = Array(entries.lazy.filter { $0.reason == reason }.map(\.file).prefix(limit + 1))
      let names = files.prefix(limit).unique().joined(separator: ", ") + (files.count > limit ? ", …" : "")
      parts.append("\(count) \(reason.rawValue)" + (names.isEmpty ? "" : " (\(names))"))
    }
    return "\(Figures.count(captures, "capture")) in \(Figures.count(files, "file")): " + parts.joined(separator: ", ")
  }
}

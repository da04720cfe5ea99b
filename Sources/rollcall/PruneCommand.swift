import ArgumentParser
import Foundation
import Gathering
import Ledger
import Planning

struct PruneCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "prune",
    abstract: "Remove the dumps of old sweeps; says which, and removes nothing without --apply.",
    discussion: """
      Reports, logs, measures and history stay. Kept are: baselines (golden), the newest sweep and the newest PASS of \
      each job, sweeps that have not ended, and evidence: sweeps that failed, unless --verdict names fail. A sweep \
      that another report refers to is named. With --apply, what no run holds goes, too, after a day: files of \
      gathers that never ended.

      With --hosts go, too, the dumps that ended sweeps left on the hosts of the fleet: those that the store has whole \
      or had until it was pruned, and those of attempts that were lost or given up. Logs and records stay there. \
      Without --older-than or --keep nothing of the store goes then. Exit code 69 where a host does not answer.

      Examples: rollcall prune --older-than 30d
                rollcall prune --max-size 500G --apply
                rollcall prune --hosts --fleet fleet.yaml
      """)

  @Option(name: .long, help: "Sweeps that ended longer ago: 30d, 12h.")
  var olderThan: String?

  @Option(name: .long, help: "All but the newest so many sweeps of each job.")
  var keep: Int?

  @Option(
    name: .long,
    help: "The oldest, until the dumps of all sweeps are no more than this: 500G, 20G, 800M; a unit is needed.")
  var maxSize: String?

  @Option(
    name: .long, help: "Only sweeps with this verdict, which may be given several times: pass, inconclusive, fail.")
  var verdict: [String] = []

  @Option(name: .long, help: "Only sweeps of this job.")
  var job: String?

  @Flag(
    name: .long, help: "Dumps on the hosts of the fleet, too: of all ended sweeps, or those that the options name.")
  var hosts = false

  @Flag(name: .long, help: "Remove what is named.")
  var apply = false

  @OptionGroup var store: StoreOptions
  @OptionGroup var fleet: FleetOptions

  var wantsJSON: Bool { store.json }

  func validate() throws {
    guard hosts || prunesStore else {
      throw ValidationError("Say what may go: --older-than, --keep, --max-size or --hosts.")
    }
    if hosts, maxSize != nil, olderThan == nil, keep == nil {
      throw ValidationError(
        "--max-size is a size of the store and names no sweep whose dumps may go from hosts; with --hosts say "
          + "--older-than or --keep, too, or leave it out.")
    }
    if fleet.fleet != nil, !hosts { throw ValidationError("--fleet names hosts; say --hosts, too.") }
    if let keep, keep < 0 { throw ValidationError("--keep must not be negative.") }
    if let olderThan, olderThan.last?.isLetter != true || DurationText.seconds(from: olderThan) == nil {
      throw ValidationError("--older-than must be a time such as 30d or 12h.")
    }
    if let maxSize, Retention.bytes(maxSize) == nil {
      throw ValidationError("--max-size must be a size with its unit, B, K, M, G or T, such as 500G or 800M; or 0.")
    }
    for word in verdict where !["pass", "inconclusive", "fail"].contains(word) {
      throw ValidationError("--verdict must be pass, inconclusive or fail.")
    }
  }

  private var prunesStore: Bool { olderThan != nil || keep != nil || maxSize != nil }

  func run() async throws {
    // A fleet that cannot be read is told before anything goes.
    let fleet = hosts ? try fleet.read() : nil
    let (ledger, artifacts) = try store.open(usingReserve: apply)
    let retention = Retention(
      olderThan: olderThan.flatMap(DurationText.seconds), keep: keep, maxSize: maxSize.flatMap(Retention.bytes),
      verdicts: Set(verdict), job: job)
    let now = Date().timeIntervalSince1970
    let (selection, freed) =
      if !prunesStore {
        (Retention.Selection(), 0)
      } else if apply {
        try artifacts.pruning {
          let selection = try retention.select(ledger, artifacts, now: now)
          return (selection, try retention.remove(selection, ledger, artifacts, now: now))
        }
      } else {
        (try retention.select(ledger, artifacts, now: now), 0)
      }
    var answers: [HostRetention.Answer]?
    if let fleet {
      let sweeps = retention.named(in: try ledger.sweeps(limit: .max), now: now)
      answers = try await HostRetention(sweeps, ledger, artifacts).ask(fleet, ledger, apply: apply)
    }
    if store.json {
      Console.print(try JSONOutput.text(PruneDocument(selection, applied: apply, freed: freed, hosts: answers)))
    } else {
      show(selection, freed, answers ?? [])
    }
    if answers?.contains(where: { $0.error != nil }) == true { throw ExitCode(Failure.unavailable) }
  }

  private func show(_ selection: Retention.Selection, _ freed: Int, _ hosts: [HostRetention.Answer]) {
    for entry in selection.pruned {
      let referrers =
        entry.referredBy.isEmpty ? "" : "; the report of \(entry.referredBy.joined(separator: ", ")) refers to it"
      Console.print(
        "\(apply ? "pruned" : "would prune") \(entry.sweep.id): \(entry.sweep.verdict?.uppercased() ?? "-"), "
          + "\(ByteProgress.size(entry.bytes))\(referrers)")
    }
    for (sweep, why) in selection.kept { Console.error("rollcall: kept \(sweep): \(why)") }
    for host in hosts where host.attempts > 0 {
      Console.print(
        "\(apply ? "pruned" : "would prune") the dumps of \(HostRetention.count(host.attempts)) on \(host.name), "
          + ByteProgress.size(host.bytes))
    }
    if selection.pruned.isEmpty, freed == 0, hosts.allSatisfy({ $0.attempts == 0 }) {
      Console.print("Nothing to prune.")
    } else if apply {
      Console.print("\(ByteProgress.size(hosts.reduce(freed) { $0 + $1.bytes })) are free now.")
    } else {
      Console.print("Nothing was removed; --apply removes it.")
    }
  }
}

/// Which sweeps' dumps may go.
struct Retention {
  var olderThan: Double?
  var keep: Int?
  var maxSize: Int?
  var verdicts: Set<String>
  var job: String?

  struct Entry {
    var sweep: SweepRecord
    /// What its runs hold, by content.
    var contents: [String: Int]
    /// Bytes of it that nothing which stays holds, too.
    var bytes = 0
    var referredBy: [String] = []
  }

  struct Selection {
    var pruned: [Entry] = []
    /// Sweeps that the rules name and that stay, with the reason.
    var kept: [(sweep: String, why: String)] = []
    /// Contents that nothing else holds.
    var objects: Set<String> = []
  }

  /// The sweeps that age, number, verdict and job name.
  ///
  /// - Parameter all: The newest first.
  func named(in all: [SweepRecord], now: Double) -> [SweepRecord] {
    var ranks: [String: Int] = [:]
    return all.filter { sweep in
      let rank = ranks[sweep.job, default: 0]
      ranks[sweep.job] = rank + 1
      return (job == nil || sweep.job == job) && (verdicts.isEmpty || verdicts.contains(sweep.verdict ?? ""))
        && (olderThan.map { now - (sweep.ended ?? now) > $0 } ?? true) && (keep.map { rank >= $0 } ?? true)
    }
  }

  func select(_ ledger: SweepLedger, _ artifacts: ArtifactStore, now: Double) throws -> Selection {
    let all = try ledger.sweeps(limit: .max)
    var contents: [String: [String: Int]] = [:]
    for sweep in all {
      for run in try ledger.runs(of: sweep.id) {
        contents[sweep.id, default: [:]].merge(try artifacts.contents(sweep: sweep.id, run: run.name)) { first, _ in
          first
        }
      }
    }
    let golden = Set(try ledger.jobs().flatMap { try ledger.goldens(of: $0) }.map(\.sweep))
    var newest: Set<String> = []
    for (_, sweeps) in Dictionary(grouping: all, by: \.job) {
      if let last = sweeps.first { newest.insert(last.id) }
      if let pass = sweeps.first(where: { $0.verdict == "pass" }) { newest.insert(pass.id) }
    }
    var selection = Selection()
    var candidates: [Entry] = []
    for sweep in named(in: all, now: now) {
      guard let held = contents[sweep.id], !held.isEmpty else { continue }
      let why: String? =
        if sweep.ended == nil { "it has not ended" } else if golden.contains(sweep.id) {
          "it is a baseline"
        } else if newest.contains(sweep.id) {
          "it is the newest of its job, or its newest PASS"
        } else if sweep.verdict == "fail", !verdicts.contains("fail") {
          "it failed: evidence; --verdict fail takes it"
        } else { nil }
      if let why {
        selection.kept.append((sweep.id, why))
      } else {
        candidates.append(Entry(sweep: sweep, contents: held))
      }
    }
    // How many sweeps hold a content.
    var holders: [String: Int] = [:]
    var sizes: [String: Int] = [:]
    for held in contents.values {
      for (hash, bytes) in held {
        holders[hash, default: 0] += 1
        sizes[hash] = bytes
      }
    }
    var total = sizes.values.reduce(0, +)
    // The oldest first, until there is room.
    for var entry in candidates.reversed() {
      if let maxSize, total <= maxSize { break }
      for (hash, bytes) in entry.contents {
        holders[hash, default: 1] -= 1
        guard holders[hash] == 0 else { continue }
        entry.bytes += bytes
        selection.objects.insert(hash)
      }
      total -= entry.bytes
      entry.referredBy = try ledger.reports(referringTo: entry.sweep.id)
      selection.pruned.append(entry)
    }
    return selection
  }

  /// - Returns: Bytes that are free now.
  func remove(_ selection: Selection, _ ledger: SweepLedger, _ artifacts: ArtifactStore, now: Double) throws -> Int {
    var untold: [EventRecord] = []
    for entry in selection.pruned {
      let count = entry.contents.count
      let event = EventRecord(
        at: now, sweep: entry.sweep.id, kind: "pruned", detail: "\(count) contents, \(entry.bytes) bytes")
      // On a full disk there is room for the word afterwards.
      do {
        try ledger.append(event, usingReserve: true)
      } catch let error as LedgerError where error.code == .diskFull {
        untold.append(event)
      }
      for run in try ledger.runs(of: entry.sweep.id) { try artifacts.prune(sweep: entry.sweep.id, run: run.name) }
    }
    var freed = 0
    for hash in selection.objects {
      let bytes = artifacts.byteCount(of: hash) ?? 0
      if try artifacts.removeObject(hash) { freed += bytes }
    }
    freed += try artifacts.removeOrphans(before: now - 86_400)
    for event in untold { try ledger.append(event) }
    return freed
  }

  /// A number and its unit; nil for what is none. Who leaves the unit out hardly means bytes, and all dumps would go.
  static func bytes(_ text: String) -> Int? {
    let units: [Character: Double] = ["B": 1, "K": 1024, "M": 1_048_576, "G": 1_073_741_824, "T": 1_099_511_627_776]
    guard let unit = text.last.flatMap({ units[$0] }), let count = Double(text.dropLast()), count >= 0,
      count * unit < 9e18
    else { return text == "0" ? 0 : nil }
    return Int(count * unit)
  }
}

/// `rollcall.prune/1`
struct PruneDocument: Encodable {
  struct Entry: Encodable {
    var sweep: String
    var job: String
    var verdict: String?
    var bytes: Int
    var referredBy: [String]

    enum CodingKeys: String, CodingKey {
      case sweep, job, verdict, bytes
      case referredBy = "referred_by"
    }
  }

  struct Kept: Encodable {
    var sweep: String
    var why: String
  }

  var schema = "rollcall.prune/1"
  var applied: Bool
  var freed: Int
  var pruned: [Entry]
  var kept: [Kept]
  /// What they removed, or would; nil: none was asked.
  var hosts: [HostRetention.Answer]?

  init(_ selection: Retention.Selection, applied: Bool, freed: Int, hosts: [HostRetention.Answer]?) {
    self.applied = applied
    self.freed = freed
    self.hosts = hosts
    pruned = selection.pruned.map {
      Entry(
        sweep: $0.sweep.id, job: $0.sweep.job, verdict: $0.sweep.verdict, bytes: $0.bytes, referredBy: $0.referredBy)
    }
    kept = selection.kept.map { Kept(sweep: $0.sweep, why: $0.why) }
  }
}

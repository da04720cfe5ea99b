import ArgumentParser
import Coordination
import Foundation
import Ledger
import Scheduling

struct ExplainCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Say why a run waits, host by host, or how it came to its end.",
    discussion: """
      Asks the hosts how they are now and the scheduler what it would decide; starts nothing.

      Example: rollcall explain world_size=8
      """)

  @Argument(help: "The run: its name or a part of it that no other run of the sweep has.")
  var run: String

  @Option(name: .long, help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep = "last"

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  /// `rollcall.explain/1`.
  private struct Document: Encodable {
    struct Host: Encodable {
      var host: String
      var why: String
    }

    struct Event: Encodable {
      var at: String
      var kind: String
      var attempt: String?
      var detail: String
    }

    var schema = "rollcall.explain/1"
    var sweep: String
    var run: String
    var state: RunState
    /// The answer in one sentence.
    var answer: String
    var hosts: [Host] = []
    var events: [Event]
  }

  func run() async throws {
    let ledger = try SweepLedger(store: store.directory)
    let record = try ledger.sweep(named: sweep)
    let runs = try ledger.runs(of: record.id)
    let run = try LogsCommand.find(self.run, in: runs, sweep: record.id)
    let last = try ledger.attempts(of: record.id).last { $0.run == run.name }
    let events = try ledger.events(of: record.id, limit: 100_000).filter { $0.run == run.name }
    var document = Document(
      sweep: record.id, run: run.name, state: run.state, answer: Self.answer(run, last),
      events: events.suffix(20).map {
        .init(at: StatusTable.time($0.at), kind: $0.kind, attempt: $0.attempt, detail: shown($0.detail))
      })
    if run.state == .queued {
      let found = try await Self.waiting(run, record, ledger, store: store.directory)
      document.answer = found.answer
      document.hosts = found.hosts.map { .init(host: $0.host, why: $0.why) }
    }
    if store.json {
      Console.print(try JSONOutput.text(document))
      return
    }
    var lines = ["\(run.name): \(document.answer)"] + document.hosts.map { "  \($0.host): \($0.why)" }
    if !document.events.isEmpty {
      lines += ["", "what happened"] + document.events.map { "  \($0.at)  \($0.kind)  \($0.detail)" }
    }
    Console.print(lines.joined(separator: "\n"))
  }

  private static func answer(_ run: RunRecord, _ attempt: AttemptRecord?) -> String {
    let place = attempt.map { " attempt \($0.number) on \($0.host)" } ?? ""
    let why = run.why.map { ": " + shown($0) } ?? ""
    switch run.state {
    case .queued: return "waits"
    case .launching: return "is being launched:\(place)\(why)"
    case .running:
      guard let attempt, attempt.unheard > 0 else { return "runs:\(place)" }
      return "ran when its host was last heard of:\(place); it is unreachable for "
        + "\(StatusTable.duration(attempt.unheard)) or more, and asked again and again (lost_after says for how "
        + "long)" + (attempt.why.map { ": " + shown($0) } ?? "")
    case .gathering: return "has ended; its files are being fetched:\(place)"
    case .succeeded, .failed, .timedOut, .stalled, .cancelled, .lost: return "\(run.state.rawValue)\(why)"
    }
  }

  /// Why a queued run waits, and what each host has to do with it.
  static func waiting(
    _ run: RunRecord, _ record: SweepRecord, _ ledger: SweepLedger, store: String
  ) async throws -> (answer: String, hosts: [(host: String, why: String)]) {
    let view = try await QueueView(ledger, record, store: store, now: Date().timeIntervalSince1970)
    let hosts = view.hostNotes.sorted { $0.key < $1.key }.map { (host: $0.key, why: shown($0.value)) }
    switch view.decision(for: run.name) {
    case .place(_, let names, _):
      let place = names.joined(separator: ", ")
      let answer =
        StoreLock.driven(store: store).contains(record.id)
        ? "may start now on \(place)" + (run.why.map { ", or waits for its next try: \(shown($0))" } ?? "")
        : "could start on \(place), but nobody drives its sweep: rollcall resume \(record.id)"
      return (answer, hosts)
    case .impossible(_, let reason): return ("cannot run: \(reason)", hosts)
    case .wait(_, let reasons):
      let each = reasons.map { reason in
        let note = view.hostNotes[reason.host].map { " (\(shown($0)))" } ?? ""
        return (host: reason.host, why: Explanation.text(reason.why) + note)
      }
      return ("waits: \(Explanation.summary(reasons))", each)
    case .reserve, nil: return ("waits", hosts)
    }
  }
}

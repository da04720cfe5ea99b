import Foundation
import Ledger
import Planning
import Playbooks
import Transports

/// What answers for the next step: a playbook of ours, or a team's own program.
enum PlaybookMethod {
  case builtIn(any Playbook)
  case own(OwnPlaybook, program: String)

  /// - Throws: `PlaybookError` where the job lacks what the playbook needs.
  init(_ record: PlaybookRecord) throws {
    let plan = try Planner.plan(text: record.text, path: record.path)
    if let name = PlaybookName(rawValue: record.name) {
      self = .builtIn(try name.playbook(for: plan, commits: record.commits))
    } else if record.name.hasPrefix("/") {
      self = .own(OwnPlaybook(try Subject(plan)), program: record.name)
    } else {
      throw LedgerError(
        code: .damaged, message: "The store holds the unknown playbook \"\(record.name)\"; a newer rollcall wrote it.")
    }
  }

  /// More runs than this it never takes; nil where only a team's own program knows.
  var mostRuns: Int? {
    switch self {
    case .builtIn(let playbook): playbook.mostRuns
    case .own: nil
    }
  }

  func next(after steps: [Step]) async throws -> Move {
    switch self {
    case .builtIn(let playbook): return playbook.next(after: steps)
    case .own(let own, let program):
      let result = try await LocalTransport().run(
        "exec " + shellQuote(program), input: Array(try own.evidence(steps)), limit: 16 << 20, timeout: .seconds(600))
      guard result.status == 0 else {
        let words = String(decoding: result.errorOutput.suffix(400), as: UTF8.self)
        throw PlaybookError("\(program) ended with exit code \(result.status): \(words)")
      }
      return try own.move(Data(result.output), after: steps)
    }
  }

  /// A name of ours, or the absolute path of a program.
  static func name(_ given: String) throws -> String {
    if PlaybookName(rawValue: given) != nil { return given }
    let path = URL(fileURLWithPath: given).standardizedFileURL.path
    guard given.contains("/") else {
      let names = PlaybookName.allCases.map(\.rawValue)
      let nearest = Spelling.nearest(to: given, in: names).map { " Did you mean \($0)?" } ?? ""
      throw UsageError(
        message:
          "There is no playbook \"\(given)\".\(nearest) They are \(names.joined(separator: ", ")); your own is a "
          + "path with a slash.")
    }
    guard FileManager.default.isExecutableFile(atPath: path) else {
      throw InputError(message: "The playbook \(path) is not there or not executable.")
    }
    return path
  }

  /// For `commits` the hashes from the good one to the bad one along the first parents, the oldest first.
  static func commits(_ name: String, _ plan: Plan) async throws -> [String] {
    guard name == PlaybookName.commits.rawValue, let spec = plan.playbook?.commits else { return [] }
    let git = "git -C \(shellQuote(spec.repository))"
    func hashes(_ command: String) async throws -> [String] {
      let result = try await LocalTransport().run(
        "\(git) \(command)", input: [], limit: 64 << 20, timeout: .seconds(60))
      guard result.status == 0 else {
        let words = String(decoding: result.errorOutput.suffix(400), as: UTF8.self)
        throw PlaybookError("The commits of \(spec.repository) cannot be read: \(words)")
      }
      return String(decoding: result.output, as: UTF8.self).split(separator: "\n").map(String.init)
    }
    let good = try await hashes("rev-parse --verify --end-of-options \(shellQuote(spec.good + "^{commit}"))")
    let bad = try await hashes("rev-parse --verify --end-of-options \(shellQuote(spec.bad + "^{commit}"))")
    guard let good = good.first, let bad = bad.first else { return [] }
    let between = try await hashes("rev-list --first-parent --reverse \(good)..\(bad)")
    return between.isEmpty ? [] : [good] + between
  }
}

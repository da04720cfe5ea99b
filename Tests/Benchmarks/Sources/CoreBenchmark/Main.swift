import Foundation
import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling
import Transports

@testable import Coordination

/// The coordinator's state machine alone: 1,000 hosts of 8 GPUs, and runs of 1, 4, 8 and 2 × 8 GPUs of five sweeps that
/// wait for them, one of them behind all others. Now and then a host cannot be reached. Each answer of a host is one event
/// and one step; commits and hosts take no time. Prints one JSON line; times in milliseconds.
@main
enum Main {
  static func main() {
    let words = CommandLine.arguments.dropFirst().compactMap { Int($0) }
    var world = World(queued: words.first ?? 10_000, hosts: 1000, seed: 1)
    world.enrol()
    let filling = world.fill()
    world.turnOver(events: words.dropFirst().first ?? 4000)
    func quantiles(_ name: String, _ times: [Double]) -> String {
      let sorted = times.sorted()
      guard let last = sorted.last else { return "\"\(name)\": null" }
      return "\"\(name)\": {\"count\": \(sorted.count), \"median\": \(sorted[sorted.count / 2]), "
        + "\"p99\": \(sorted[sorted.count * 99 / 100]), \"max\": \(last)}"
    }
    let kinds = World.Kind.allCases.map { quantiles($0.rawValue, world.times[$0] ?? []) }
    let all = quantiles("all", world.times.values.flatMap { $0 })
    print(
      "{\"hosts\": 1000, \"queued\": \(world.core.queue.count), \"running\": \(world.running.count), "
        + "\"first_pass\": \(filling), \(all), \(kinds.joined(separator: ", "))}")
  }
}

/// Hosts and runs, without a clock of their own.
struct World {
  enum Kind: String, CaseIterable {
    /// A host tells that its runs go on.
    case nothing
    /// A launch, a release or a gather has been done.
    case done
    /// A run has ended: its GPUs are free.
    case ended
    /// The same, and others start there.
    case placed
    /// A host could not be reached.
    case trouble
  }

  var core: CoordinatorCore
  var time = 0.0
  var random = SystemRandomNumberGenerator()
  var times: [Kind: [Double]] = [:]
  /// Attempts that run.
  var running: [String] = []
  private var places: [String: Int] = [:]
  /// Attempts whose command has ended, and which their host tells at the next poll.
  private var ended: Set<String> = []
  private var commands: [Command] = []
  private var polls: [String: Command] = [:]

  init(queued: Int, hosts count: Int, seed: UInt64) {
    let hosts = (0..<count).map { Fleet.Host(name: "h\($0)", address: .ssh("h\($0)"), gpus: .count(8)) }
    var settings = Coordinator.Settings()
    settings.slowestPoll = 0.5
    core = CoordinatorCore(
      hosts: hosts, stragglers: [], settings: settings, nonce: "n", at: Moment(wall: 1e9, steady: 0))
    let shapes = [(1, 1), (4, 1), (8, 1), (8, 2)]
    let total = queued + 2500
    for sweep in 0..<5 {
      let cells = shapes.enumerated().map { index, shape in
        Cell(
          id: "c\(index)", values: [:],
          run: RunSpec(command: "true", gpus: shape.0, nodes: shape.1, timeout: Double(600 + sweep)))
      }
      let runs = (0..<total / 5).map {
        RunRecord(sweep: "s\(sweep)", name: "r\($0)", position: $0, cell: "c\($0 % 4)", repetition: $0 / 4 + 1)
      }
      var plan = Plan(name: "s", baseDirectory: "/", axes: [], cells: cells)
      plan.priority = sweep == 4 ? -1 : nil
      _ = step([
        .added(
          SweepRows(
            sweep: SweepRecord(id: "s\(sweep)", job: "s", state: .active, created: 0), plan: plan, runs: runs,
            attempts: []))
      ])
    }
  }

  private mutating func step(_ events: [Event]) -> (seconds: Double, output: Output) {
    let clock = ContinuousClock()
    var output = Output()
    let time = time
    let duration = clock.measure {
      output = core.step(events, at: Moment(wall: 1e9 + time, steady: time)) { _ in }
    }
    for command in output.commands {
      if case .poll = command.action { polls[command.host] = command } else { commands.append(command) }
    }
    return (duration / .milliseconds(1), output)
  }

  mutating func enrol() {
    let answers = commands.map { Event.answered($0.id, .facts(Self.facts)) }
    commands = []
    // All but one at first, so that the fleet is placed in one go.
    _ = step(Array(answers.dropLast()))
    _ = step(Array(answers.suffix(1)))
  }

  /// Answers all that is asked until nothing but polls is.
  /// - Returns: Milliseconds of the longest step.
  mutating func fill() -> Double {
    var longest = 0.0
    while !commands.isEmpty {
      let asked = commands
      commands = []
      longest = max(longest, step(asked.map { .answered($0.id, answer($0)) }).seconds)
    }
    return longest
  }

  /// Event by event: time passes, hosts tell how their runs stand, some of which have ended.
  mutating func turnOver(events: Int) {
    var count = 0
    while count < events {
      time += 0.001
      // The oldest question that nobody has answered.
      if let command = commands.first {
        commands.removeFirst()
        let (seconds, output) = step([.answered(command.id, answer(command))])
        note(seconds, output, .done)
      } else if let command = polls.values.min(by: { $0.id < $1.id }) {
        polls[command.host] = nil
        guard case .poll(let attempts) = command.action else { continue }
        if count % 40 == 20 {
          let trouble = TransportError(code: .unreachable, host: command.host, message: "cut")
          note(step([.answered(command.id, .trouble(trouble))]).seconds, Output(), .trouble)
          count += 1
          continue
        }
        if count % 8 == 0, let one = attempts.randomElement(using: &random) { end(one) }
        let hasEnded = attempts.contains { ended.contains($0) }
        let (seconds, output) = step([.answered(command.id, answer(command))])
        note(seconds, output, hasEnded ? .ended : .nothing)
      } else {
        time += 0.5
        _ = step([.tick])
        continue
      }
      count += 1
    }
  }

  private mutating func note(_ seconds: Double, _ output: Output, _ kind: Kind) {
    let places = output.writes.contains { if case .begin = $0 { true } else { false } }
    times[places ? .placed : kind, default: []].append(seconds)
  }

  /// Of all shares of its gang.
  private mutating func end(_ attempt: String) {
    let stem = attempt.components(separatedBy: "-node").first ?? attempt
    for one in running where one == stem || one.hasPrefix(stem + "-node") { ended.insert(one) }
  }

  private mutating func answer(_ command: Command) -> Answer {
    switch command.action {
    case .enrol: return .facts(Self.facts)
    case .launch(let attempt, _):
      places[attempt.id] = running.count
      running.append(attempt.id)
      return .launched(.started, directory: "/w")
    case .release: return .released
    case .stop: return .stopped
    case .poll(let attempts):
      return .statuses(
        Dictionary(
          uniqueKeysWithValues: attempts.map { attempt in
            guard ended.contains(attempt) else { return (attempt, .running(outputBytes: 10)) }
            remove(attempt)
            return (attempt, .exited(ExitRecord(code: 0, signal: nil, started: 0, ended: 1, reason: nil)))
          }))
    case .gather: return .gathered(GatheredFiles(count: 9, bytes: 9, missing: []))
    }
  }

  private mutating func remove(_ attempt: String) {
    guard let place = places.removeValue(forKey: attempt), let last = running.popLast() else { return }
    if last != attempt {
      running[place] = last
      places[last] = place
    }
  }

  private static let facts = HostFacts(
    bootID: "b", home: "/", workdir: "/w", cpuCount: 192, gpuNames: Array(repeating: "NVIDIA H200", count: 8),
    gpuIDs: (0..<8).map { "GPU-\($0)" }, gpuDriver: "570", freeDiskBytes: 1 << 40, clockOffset: 0,
    versions: ["kernel": "Linux"])
}

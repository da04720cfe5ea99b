import Foundation
import Scheduling
import TestSupport
import Testing

/// Sweeps run to their end by the clock of the test, on hosts of eight GPUs.
@Suite struct MakespanTests {
  /// A run and how long it takes, in the unit of its time limit: half an hour is a usual limit for what takes some ten
  /// minutes.
  private struct Job {
    var run: Run
    var time: Double
  }

  /// A mix of tensor-parallel sizes: how many of 20 runs have each.
  private static let mixes: [[Int: Int]] = [
    [1: 7, 2: 7, 8: 6], [1: 10, 2: 6, 4: 2, 8: 2], [1: 2, 2: 2, 8: 16], [1: 12, 2: 8], [1: 5, 4: 10, 8: 5],
  ]

  private func jobs(_ mix: [Int: Int], scale: Int, seed: UInt64) -> [Job] {
    var random = SplitMix64(seed: seed)
    var sizes = mix.sorted { $0.key < $1.key }.flatMap { Array(repeating: $0.key, count: $0.value * scale) }
    sizes.shuffle(using: &random)
    return sizes.enumerated().map { index, gpus in
      let minutes = Double.random(in: 3...20, using: &random)
      return Job(
        run: Run(id: "r\(index)", gpus: gpus, order: index, timeLimit: minutes < 10 ? 15 : 30), time: minutes)
    }
  }

  /// Runs all jobs; `isStrict`: nothing overtakes (first come, first served).
  private func makespan(_ jobs: [Job], hosts: Int, isStrict: Bool) -> Double {
    var scheduler = Scheduler(hosts: (0..<hosts).map { gpuHost("h\($0)", 8) })
    let times = Dictionary(uniqueKeysWithValues: jobs.map { ($0.run.id, $0.time) })
    var waiting = jobs.map(\.run)[...]
    if !isStrict {
      for run in waiting { scheduler.add(run) }
      waiting = []
    }
    var ends: [(at: Double, run: String)] = []
    var now = 0.0
    var started = 0
    while started < jobs.count || !ends.isEmpty {
      repeat {
        if isStrict, scheduler.queuedCount == 0, let next = waiting.popFirst() { scheduler.add(next) }
        for case .place(let run, _, _) in scheduler.decide(now: now) {
          ends.append((now + (times[run] ?? 0), run))
          started += 1
        }
      } while isStrict && scheduler.queuedCount == 0 && !waiting.isEmpty
      guard let next = ends.min(by: { $0.at < $1.at }) else { return .infinity }
      now = next.at
      for end in ends where end.at <= now { scheduler.release(end.run) }
      ends.removeAll { $0.at <= now }
    }
    return now
  }

  @Test(arguments: MakespanTests.mixes.indices, [2, 8])
  func isNearTheBound(mix: Int, hosts: Int) {
    var ratios: [Double] = []
    var toStrict: [Double] = []
    for seed in 0..<2 {
      // A night's work: some eight hours.
      let large = Self.mixes[mix][8] ?? 0
      let jobs = jobs(Self.mixes[mix], scale: hosts * (large > 4 ? 4 : 10), seed: UInt64(seed + 100 * mix))
      let bound = bound(jobs, hosts: hosts)
      let ours = makespan(jobs, hosts: hosts, isStrict: false)
      let strict = makespan(jobs, hosts: hosts, isStrict: true)
      ratios.append(ours / bound)
      toStrict.append(ours / strict)
    }
    #expect(mean(ratios) <= 1.1, "mix \(mix), \(hosts) hosts: \(ratios)")
    // Where nothing is large, nothing is in the way of anything.
    #expect(mean(toStrict) < (Self.mixes[mix][8] == nil ? 1.02 : 0.97), "mix \(mix), \(hosts) hosts: \(toStrict)")
  }

  /// No schedule is shorter than the work over the GPUs, nor than the longest run, nor than what needs whole hosts over
  /// the hosts.
  private func bound(_ jobs: [Job], hosts: Int) -> Double {
    let work = jobs.reduce(0) { $0 + Double($1.run.gpus) * $1.time } / Double(8 * hosts)
    // Of those with more than half of a host no two share one.
    let large = jobs.filter { $0.run.gpus > 4 }.reduce(0) { $0 + $1.time } / Double(hosts)
    return max(work, large, jobs.map(\.time).max() ?? 0)
  }

  /// What `Tests/Fixtures/mixes/record.py` wrote of real sweeps, so many nights of it, in the order of the queue: a
  /// sweep follows another.
  private func recorded(_ mix: String, nights: Int) throws -> [Job] {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let text = try String(contentsOf: folder.appending(path: "Fixtures/mixes/\(mix).csv"), encoding: .utf8)
    let lines = text.split(separator: "\n").map { $0.split(separator: ",") }
    #expect(lines.first == ["job", "cell", "gpus", "seconds", "limit_s"])
    return try (0..<nights).flatMap { night in
      try lines.dropFirst().enumerated().map { index, fields in
        try #require(fields.count == 5)
        let order = night * lines.count + index
        return Job(
          run: Run(
            id: "r\(order)", gpus: try #require(Int(fields[2])), order: order, sweep: "\(night)",
            timeLimit: try #require(Double(fields[4]))), time: try #require(Double(fields[3])))
      }
    }
  }

  /// Time limits are those of the jobs, a hundred times what the runs take, and tell nothing; or within a tenth of it.
  @Test(arguments: ["tp-sweep", "night"], [2, 4])
  func recordedMixesAreNearTheBoundAndBetterThanFirstComeFirstServed(mix: String, hosts: Int) throws {
    var toStrict: [Double] = []
    for isKnown in [true, false] {
      var jobs = try recorded(mix, nights: hosts * 4)
      if isKnown { for index in jobs.indices { jobs[index].run.timeLimit = jobs[index].time * 1.1 } }
      let ours = makespan(jobs, hosts: hosts, isStrict: false)
      let strict = makespan(jobs, hosts: hosts, isStrict: true)
      let bound = bound(jobs, hosts: hosts)
      #expect(ours <= 1.1 * bound, "\(mix), \(hosts) hosts, limits known: \(isKnown): \(ours / bound)")
      if isKnown { #expect(ours < strict, "\(mix), \(hosts) hosts: \(ours / strict)") }
      toStrict.append(ours / strict)
    }
    #expect(mean(toStrict) < 1, "\(mix), \(hosts) hosts: \(toStrict)")
  }

  private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

  /// A head starts no later than the time limits of what was before it in its way promise.
  @Test(arguments: 0..<20)
  func overtakingDelaysNoHead(seed: Int) {
    let jobs = jobs([1: 8, 2: 6, 4: 4, 8: 2], scale: 5, seed: UInt64(1_000 + seed))
    var scheduler = Scheduler(hosts: (0..<3).map { gpuHost("h\($0)", 8) })
    let byID = Dictionary(uniqueKeysWithValues: jobs.map { ($0.run.id, $0) })
    for job in jobs { scheduler.add(job.run) }
    var active: [(run: String, host: String, gpus: Int, end: Double, limit: Double)] = []
    var promised: [String: Double] = [:]
    var now = 0.0
    var started = 0
    while started < jobs.count {
      var heads: [(run: String, host: String)] = []
      for decision in scheduler.decide(now: now) {
        switch decision {
        case .place(let run, let hosts, let gpus):
          let job = byID[run]
          #expect(now <= promised[run] ?? .infinity, "seed \(seed): \(run) was delayed")
          active.append(
            (run, hosts[0], gpus, now + (job?.time ?? 0), now + (job?.run.timeLimit ?? 0)))
          started += 1
        case .reserve(let run, let hosts): heads.append((run, hosts[0]))
        case .wait, .impossible: break
        }
      }
      for head in heads where promised[head.run] == nil {
        // Everything on its host has ended by then.
        promised[head.run] = active.filter { $0.host == head.host }.map(\.limit).max() ?? now
      }
      guard let next = active.map(\.end).min() else { break }
      now = next
      for item in active where item.end <= now { scheduler.release(item.run) }
      active.removeAll { $0.end <= now }
    }
    #expect(started == jobs.count)
    #expect(!promised.isEmpty)
  }
}

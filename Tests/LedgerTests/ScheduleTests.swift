import Foundation
import GRDB
import Planning
import Scheduling
import TestSupport
import Testing

@testable import Ledger

@Suite struct ScheduleRecordTests {
  private func plan() throws -> Plan {
    try Planner.plan(text: "name: nightly\nrun: {command: \"true\"}\n", path: "/nowhere/nightly.yaml")
  }

  private func withSchedule(_ body: (SweepLedger) throws -> Void) async throws {
    try await Scratch.with { scratch in
      let ledger = try SweepLedger(store: scratch.path)
      try ledger.save(ScheduleRecord(name: "nightly", path: "/a.yaml", fleet: nil, added: 100))
      try body(ledger)
    }
  }

  private func begin(_ firing: FiringRecord, _ sweep: String, _ ledger: SweepLedger) throws {
    let run = RunRecord(sweep: sweep, name: "only", position: 0, cell: "c", repetition: 1)
    try ledger.begin(
      firing, sweep: sweep, plan: try plan(), fleet: FleetReader.thisMachine(), runs: [run], now: 300)
  }

  /// Whoever decides a time for the second time changes nothing: that is what a crash between two steps comes to.
  @Test func aTimeIsDecidedOnceAndHasOneSweep() async throws {
    try await withSchedule { ledger in
      let firing = FiringRecord(schedule: "nightly", nominal: 200, state: .queued)
      try ledger.decide(schedule: "nightly", through: 200, firings: [firing])
      try begin(firing, "s1", ledger)
      try ledger.decide(schedule: "nightly", through: 200, firings: [firing])
      #expect(try ledger.firings(of: "nightly", limit: 9).map(\.nominal) == [200])
      #expect(try ledger.firings(of: "nightly", limit: 9).map(\.state) == [.running])
      #expect(throws: LedgerError.self) { try begin(firing, "s2", ledger) }
      #expect(try ledger.sweeps(limit: 9).map(\.id) == ["s1"])
      #expect(try ledger.openFirings(of: "nightly").map(\.sweep) == ["s1"])
      try ledger.finish(sweep: "s1", state: .done, verdict: "pass", report: "{}", series: [], notices: [], now: 400)
      #expect(try ledger.firings(of: "nightly", limit: 9).map(\.state) == [.done])
      #expect(try ledger.hasReport(schedule: "nightly", after: 399, through: 400))
      #expect(try !ledger.hasReport(schedule: "nightly", after: 400, through: 500))
    }
  }

  @Test func aClockThatWasFarAheadSilencesNoSchedule() async throws {
    let day = 86_400.0
    try await withSchedule { ledger in
      try ledger.save(ScheduleRecord(name: "other", path: "/o.yaml", fleet: nil, added: 100))
      let ahead = [
        FiringRecord(schedule: "nightly", nominal: 2 * day, last: 300 * day, count: 299, state: .skipped),
        FiringRecord(schedule: "nightly", nominal: 301 * day, state: .queued),
      ]
      try ledger.decide(schedule: "nightly", through: 301 * day, firings: ahead)
      try begin(ahead[1], "s1", ledger)
      try ledger.decide(schedule: "other", through: 1.9 * day, firings: [])
      try ledger.alarm(schedule: "other", through: 0.5 * day, notices: [])

      #expect(try ledger.bringBack(schedulesAheadOf: day).map(\.name) == ["nightly"])
      #expect(try ledger.schedule(named: "nightly").decidedThrough == day)
      #expect(try ledger.schedule(named: "nightly").alarmedThrough == 100)
      #expect(try ledger.schedule(named: "other").decidedThrough == 1.9 * day)
      try ledger.alarm(schedule: "other", through: 9 * day, notices: [])
      #expect(try ledger.bringBack(schedulesAheadOf: day).map(\.name) == ["other"])
      #expect(try ledger.schedule(named: "other").alarmedThrough == day)
      #expect(try ledger.schedule(named: "other").decidedThrough == day)
      #expect(try ledger.bringBack(schedulesAheadOf: day).isEmpty)

      // What was skipped has its turn; what has run does not run again.
      try ledger.decide(
        schedule: "nightly", through: 2 * day,
        firings: [FiringRecord(schedule: "nightly", nominal: 2 * day, state: .queued)])
      try ledger.decide(
        schedule: "nightly", through: 301 * day,
        firings: [FiringRecord(schedule: "nightly", nominal: 301 * day, state: .queued)])
      let firings = try ledger.firings(of: "nightly", limit: 9)
      #expect(firings.map(\.state) == [.queued, .running])
      #expect(firings.map(\.count) == [1, 1] && firings[0].last == 2 * day)
      #expect(try ledger.openFirings(of: "nightly").map(\.nominal) == [2 * day, 301 * day])
    }
  }

  @Test func enablingAgainDoesNotCatchUpWhatWasWantedSo() async throws {
    try await withSchedule { ledger in
      try ledger.enable(schedule: "nightly", false, now: 150)
      #expect(try ledger.schedule(named: "nightly").decidedThrough == 100)
      try ledger.enable(schedule: "nightly", true, now: 5000)
      #expect(try ledger.schedule(named: "nightly").decidedThrough == 5000)
      #expect(try ledger.schedule(named: "nightly").alarmedThrough == 5000)
      // Enabled already: nothing is skipped.
      try ledger.enable(schedule: "nightly", true, now: 9000)
      #expect(try ledger.schedule(named: "nightly").decidedThrough == 5000)
    }
  }

  @Test func addingAgainChangesThePathAlone() async throws {
    try await withSchedule { ledger in
      try ledger.decide(schedule: "nightly", through: 200, firings: [])
      try ledger.save(ScheduleRecord(name: "nightly", path: "/b.yaml", fleet: "/f", added: 9999))
      let schedule = try ledger.schedule(named: "nightly")
      #expect(schedule.path == "/b.yaml")
      #expect(schedule.fleet == "/f")
      #expect(schedule.decidedThrough == 200)
    }
  }

  @Test func aNoticeWaitsUntilItIsTaken() async throws {
    try await withSchedule { ledger in
      var notice = NoticeRecord(
        id: "n1", sweep: nil, job: "nightly", target: NotifySpec(webhookEnv: "HOOK"), payload: "{}", created: 10)
      try ledger.alarm(schedule: "nightly", through: 10, notices: [notice, notice])
      #expect(try ledger.dueNotices(now: 9).isEmpty)
      #expect(try ledger.dueNotices(now: 10) == [notice])
      notice.tries = 1
      notice.nextTry = 25
      notice.error = "the webhook answered 503"
      try ledger.update(notice)
      #expect(try ledger.dueNotices(now: 24).isEmpty)
      #expect(try ledger.dueNotices(now: 25) == [notice])
      notice.sent = 26
      try ledger.update(notice)
      #expect(try ledger.dueNotices(now: 1e9).isEmpty)
      #expect(try ledger.notices(limit: 5) == [notice])
    }
  }

  @Test func measuresComeBackAsTheyWere() async throws {
    try await withSchedule { ledger in
      let series = SeriesRecord(
        sweep: "s1", job: "nightly", created: 5, pair: "world_size=2 against world_size=1", stage: "MoE",
        points: [
          .init(layer: -1, verdict: .pass, cos: 1, rel: 0, relL2: 0, alpha: 1, floor: 0.001),
          .init(layer: 0, verdict: .inconclusive, cos: 0.5, rel: .infinity, relL2: 0.25, alpha: 8, floor: 0.002),
          .init(layer: 7, verdict: .fail, cos: -1, rel: 1e-20, relL2: 3, alpha: 0, floor: 0.003),
        ])
      let run = RunRecord(sweep: "s1", name: "only", position: 0, cell: "c", repetition: 1)
      try ledger.create(sweep: "s1", plan: try plan(), fleet: FleetReader.thisMachine(), runs: [run], now: 5)
      for _ in 0..<2 {
        try ledger.finish(
          sweep: "s1", state: .done, verdict: "fail", report: "{}", series: [series], notices: [], now: 9)
      }
      #expect(try ledger.series(of: "s1") == [series])
      #expect(try ledger.ended(job: "nightly", limit: 5, before: 5).isEmpty)
      #expect(try ledger.lastPass(job: "nightly", before: 99) == nil)
    }
  }
}

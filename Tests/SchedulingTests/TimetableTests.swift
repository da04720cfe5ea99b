import Foundation
import Planning
import Testing

@testable import Scheduling

/// What becomes of a schedule's times, by a clock of the test's own.
@Suite struct TimetableTests {
  private static let day = 86_400.0
  /// 2026-06-01T00:00:00Z.
  private static let start = 1_780_272_000.0

  private func table(
    _ cron: String = "0 2 * * *", missed: ScheduleSpec.Missed = .runOnce, overlap: ScheduleSpec.Overlap = .skip,
    jitter: Double? = nil, reportBy: String? = nil
  ) throws -> Timetable {
    try Timetable(
      ScheduleSpec(
        cron: cron, timezone: "UTC", missed: missed, overlap: overlap, jitter: jitter,
        reportBy: reportBy.flatMap { ScheduleSpec.TimeOfDay($0) }), name: "nightly")
  }

  private func state(isRunning: Bool = false, queued: [Double] = []) -> Timetable.State {
    Timetable.State(decidedThrough: Self.start, isRunning: isRunning, queued: queued)
  }

  private var two: Double { Self.start + 7200 }

  @Test func aTimeIsDecidedOnceWhenItIsDue() throws {
    let table = try table()
    #expect(table.decide(state(), now: two - 1).decisions.isEmpty)
    let (decisions, after) = table.decide(state(), now: two + 0.5)
    #expect(decisions == [.queue(two)])
    #expect(after.decidedThrough == two)
    #expect(table.decide(after, now: two + 1).decisions.isEmpty)
  }

  @Test func missedTimesAreTreatedAsAsked() throws {
    let late = two + 3 * Self.day + 3600
    let nights = (0...3).map { two + Double($0) * Self.day }
    #expect(
      try table(missed: .skip).decide(state(), now: late).decisions
        == [.skip(first: nights[0], last: nights[3], count: 4, why: "missed: serve did not run")])
    #expect(
      try table(missed: .runOnce).decide(state(), now: late).decisions
        == [
          .skip(
            first: nights[0], last: nights[2], count: 3, why: "missed: serve did not run; one run stands for all"),
          .queue(nights[3]),
        ])
    #expect(try table(missed: .runAll).decide(state(), now: late).decisions == nights.map { .queue($0) })
  }

  @Test func whatIsMissedAndWhatIsDueAreTold() throws {
    let (decisions, _) = try table(missed: .skip, overlap: .queue).decide(state(), now: two + Self.day + 5)
    #expect(
      decisions
        == [.skip(first: two, last: two, count: 1, why: "missed: serve did not run"), .queue(two + Self.day)])
  }

  @Test func anOverlapIsTreatedAsAsked() throws {
    let busy = state(isRunning: true)
    #expect(
      try table(overlap: .skip).decide(busy, now: two).decisions
        == [.skip(first: two, last: two, count: 1, why: "overlap: the sweep before it has not ended")])
    #expect(try table(overlap: .queue).decide(busy, now: two).decisions == [.queue(two)])
    #expect(try table(overlap: .cancelOld).decide(busy, now: two).decisions == [.cancelRunning(for: two), .queue(two)])
    let waiting = state(isRunning: true, queued: [Self.start - 5])
    #expect(
      try table(overlap: .cancelOld).decide(waiting, now: two).decisions
        == [
          .skip(first: Self.start - 5, last: Self.start - 5, count: 1, why: "overlap: overtaken by the next one"),
          .cancelRunning(for: two), .queue(two),
        ])
  }

  @Test func aDelayIsTheSameEachTimeAndWithinItsBound() throws {
    let table = try table(jitter: 600)
    let delays = (0..<200).map { table.due(two + Double($0) * Self.day) - (two + Double($0) * Self.day) }
    #expect(delays.allSatisfy { (0...600).contains($0) })
    #expect(Set(delays).count > 100)
    #expect(table.due(two) == (try self.table(jitter: 600)).due(two))
    #expect(table.decide(state(), now: table.due(two) - 0.5).decisions.isEmpty)
    #expect(table.decide(state(), now: table.due(two)).decisions == [.queue(two)])
  }

  /// A year of minutes is told in few records, and no time is lost or told twice.
  @Test func aLongAbsenceIsToldInFewRecords() throws {
    let table = try table("* * * * *")
    var state = state()
    let now = Self.start + 10 * Self.day
    var times = 0
    var records = 0
    var queued: [Double] = []
    for _ in 0..<100 {
      let (decisions, next) = table.decide(state, now: now)
      state = next
      records += decisions.count
      for decision in decisions {
        switch decision {
        case .skip(_, _, let count, _): times += count
        case .queue(let nominal): queued.append(nominal)
        case .cancelRunning: Issue.record("nothing runs")
        }
      }
      if decisions.isEmpty { break }
    }
    #expect(times + queued.count == 14_400)
    // One run stands for all that was missed; those that came due within the grace met it.
    #expect(queued == [now - 180])
    #expect(records < 20)
  }

  @Test func anAlarmComesWhereAReportWasDue() throws {
    let table = try table("0 2 * * mon-fri", reportBy: "07:00")
    // 2026-06-01 is a Monday.
    let seven = Self.start + 7 * 3600
    #expect(table.reportTimes(after: Self.start, through: seven - 1) == [])
    #expect(table.reportTimes(after: Self.start, through: seven) == [seven])
    #expect(table.reportTimes(after: seven, through: seven + 3600) == [])
    // Monday to Friday, and not on Saturday and Sunday.
    #expect(
      table.reportTimes(after: Self.start, through: Self.start + 6.9 * Self.day)
        == (0..<5).map { seven + Double($0) * Self.day })
    #expect(try self.table().reportTimes(after: Self.start, through: seven) == [])
  }
}

import Foundation
import Planning
import TestSupport
import Testing

@testable import Scheduling

/// Fire times against the moments that Python's `zoneinfo` and `datetime` give.
@Suite struct FireTimesTests {
  private func times(_ cron: String, _ zone: String) throws -> FireTimes {
    try FireTimes(ScheduleSpec(cron: cron, timezone: zone))
  }

  private func moment(_ text: String) throws -> Double {
    try Date(text, strategy: .iso8601).timeIntervalSince1970
  }

  private func utc(_ moments: [Double]) -> [String] {
    moments.map { Date(timeIntervalSince1970: $0).formatted(.iso8601) }
  }

  /// Nightly times around each change of the clock in 2026 and 2027, as the rules of these zones have them.
  @Test(arguments: [
    // Skipped: 02:30 does not exist, 03:00 CEST does.
    (
      "30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z",
      ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    ),
    // Doubled: the first 02:30, which is CEST.
    (
      "30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z",
      ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    ),
    (
      "30 2 * * *", "America/New_York", "2027-03-13T00:00:00Z",
      ["2027-03-13T07:30:00Z", "2027-03-14T07:00:00Z", "2027-03-15T06:30:00Z"]
    ),
    (
      "30 1 * * *", "America/New_York", "2026-10-31T00:00:00Z",
      ["2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]
    ),
    // Half an hour: 02:00 becomes 02:30, and in April 02:00 becomes 01:30 again.
    (
      "15 2 * * *", "Australia/Lord_Howe", "2026-10-02T18:00:00Z",
      ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z", "2026-10-05T15:15:00Z"]
    ),
    (
      "45 1 * * *", "Australia/Lord_Howe", "2026-04-03T18:00:00Z",
      ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z", "2026-04-06T15:15:00Z"]
    ),
    ("0 3 * * *", "Asia/Kolkata", "2026-03-28T00:00:00Z", ["2026-03-28T21:30:00Z", "2026-03-29T21:30:00Z"]),
  ])
  func aSkippedHourRunsOnceAndADoubledHourRunsOnce(cron: String, zone: String, after: String, known: [String]) throws {
    let found = try times(cron, zone).next(known.count, after: try moment(after))
    #expect(utc(found) == known)
  }

  /// Times every 10 minutes over a change: those of the gap are one, those of the doubled hour come once.
  @Test func manyTimesOfAGapAreOne() throws {
    let spring = try times("*/10 2 * * *", "Europe/Berlin").next(3, after: try moment("2026-03-29T00:00:00Z"))
    #expect(utc(spring) == ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T00:10:00Z"])
    let autumn = try times("*/30 * * * *", "Europe/Berlin").next(5, after: try moment("2026-10-24T23:30:00Z"))
    #expect(
      utc(autumn) == [
        "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z",
        "2026-10-25T03:00:00Z",
      ])
  }

  /// Every time of two years in four zones, against a walk through every minute by Python's `zoneinfo`.
  @Test(arguments: ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"])
  func twoYearsAreThoseOfZoneinfo(zone: String) async throws {
    let crons = ["30 2 * * *", "*/20 1-3 * * sun,7", "15 2 1,15 * mon-fri", "0 */6 29 feb-mar *", "5 0 * * 1-5/2"]
    let script = #"""
      import sys, json
      from datetime import datetime, timedelta, timezone
      from zoneinfo import ZoneInfo
      zone = ZoneInfo(sys.argv[1])
      def field(text, low, high, names):
          found = set()
          for item in text.split(","):
              body, _, step = item.partition("/")
              if body == "*":
                  first, last = low, high
              else:
                  ends = [names.index(e) + low if e in names else int(e) for e in body.split("-")]
                  first, last = ends[0], ends[-1]
              found |= set(range(first, last + 1, int(step or 1)))
          return found
      MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
      DAYS = "sun mon tue wed thu fri sat".split()
      def moments(cron):
          texts = cron.split()
          minute, hour = field(texts[0], 0, 59, []), field(texts[1], 0, 23, [])
          day, month = field(texts[2], 1, 31, []), field(texts[3], 1, 12, MONTHS)
          week = {d % 7 for d in field(texts[4], 0, 7, DAYS)}
          found = set()
          local, end = datetime(2026, 1, 1), datetime(2028, 1, 1)
          while local < end:
              is_day, is_week = local.day in day, local.isoweekday() % 7 in week
              both = texts[2] != "*" and texts[4] != "*"
              if (is_day or is_week if both else is_day and is_week) and local.month in month:
                  for h in sorted(hour):
                      for m in sorted(minute):
                          wanted = local.replace(hour=h, minute=m)
                          first = wanted.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)
                          if first.astimezone(zone).replace(tzinfo=None) != wanted:
                              # In a gap: the first moment whose local time is later, found minute by minute.
                              at = first - timedelta(hours=3)
                              while at.astimezone(zone).replace(tzinfo=None) < wanted:
                                  at += timedelta(minutes=1)
                              first = at
                          found.add(int(first.timestamp()))
              local += timedelta(days=1)
          return sorted(found)
      print(json.dumps([moments(cron) for cron in json.loads(sys.argv[2])]))
      """#
    let list = String(decoding: try JSONEncoder().encode(crons), as: UTF8.self)
    let output = try await runPython(script, [zone, list]).output
    let expected = try JSONDecoder().decode([[Double]].self, from: Data(output.utf8))
    for (cron, known) in zip(crons, expected) {
      let isEmpty = known.isEmpty
      try #require(!isEmpty)
      let fireTimes = try times(cron, zone)
      var found: [Double] = []
      var last = known[0] - 1
      while found.count < known.count, let next = fireTimes.next(after: last) {
        found.append(next)
        last = next
      }
      #expect(found == known, "\(cron) in \(zone)")
    }
  }

  @Test func whatNeverComesIsNil() throws {
    #expect(try times("0 0 30 2 *", "UTC").next(after: 0) == nil)
    #expect(
      try utc([#require(times("0 0 29 2 *", "UTC").next(after: moment("2028-03-01T00:00:00Z")))])
        == ["2032-02-29T00:00:00Z"])
  }

  @Test func aDayOfTheCalendarIsThatOfFoundation() {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = .gmt
    for day in stride(from: -700_000 / 40, to: 60_000, by: 37) {
      let known = calendar.dateComponents(
        [.year, .month, .day, .weekday], from: Date(timeIntervalSince1970: Double(day) * 86_400))
      let found = CivilDate(day: day)
      #expect(found.year == known.year)
      #expect(found.month == known.month)
      #expect(found.day == known.day)
      #expect(found.weekday + 1 == known.weekday)
    }
  }
}

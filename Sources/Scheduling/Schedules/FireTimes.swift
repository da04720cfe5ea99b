public import Foundation
public import Planning

/// The moments that a cron expression means in one time zone, as seconds since 1970.
///
/// Daylight saving: a local time that a clock skips is taken at the end of the gap, once; a local time that a clock
/// shows twice is taken the first time only.
public struct FireTimes: Sendable {
  public let cron: CronExpression
  public let zone: TimeZone

  public init(cron: CronExpression, zone: TimeZone) {
    self.cron = cron
    self.zone = zone
  }

  /// - Throws: `CronExpression.Problem`, also for a time zone that this system does not know.
  public init(_ spec: ScheduleSpec) throws(CronExpression.Problem) {
    guard let zone = TimeZone(identifier: spec.timezone) else {
      throw CronExpression.Problem(message: "the time zone \(spec.timezone) is not known here")
    }
    self.init(cron: try CronExpression(spec.cron), zone: zone)
  }

  /// The first moment after another one; nil where there is none in the next nine years, which is longer than from one
  /// 29 February to the next.
  public func next(after moment: Double) -> Double? {
    let start = Int(moment.rounded(.down))
    // Later local times never mean earlier moments: what the clock has shown by now is over.
    let local = start + offset(at: start)
    let firstDay = Self.floorDivided(local, 86_400)
    for day in firstDay..<(firstDay + 9 * 366) {
      let date = CivilDate(day: day)
      guard cron.includes(month: date.month, day: date.day, weekday: date.weekday) else { continue }
      for hour in 0..<24 where cron.hours >> hour & 1 == 1 {
        if day * 86_400 + hour * 3600 + 3600 < local { continue }
        for minute in 0..<60 where cron.minutes >> minute & 1 == 1 {
          let found = self.moment(ofLocal: day * 86_400 + hour * 3600 + minute * 60)
          if found > start { return Double(found) }
        }
      }
    }
    return nil
  }

  /// The next few moments.
  public func next(_ count: Int, after moment: Double) -> [Double] {
    var found: [Double] = []
    while found.count < count, let next = next(after: found.last ?? moment) { found.append(next) }
    return found
  }

  /// The moment of a local time of day on the day that a moment lies in.
  func moment(of time: ScheduleSpec.TimeOfDay, onDayOf moment: Double) -> Double {
    let seconds = Int(moment.rounded(.down))
    let day = Self.floorDivided(seconds + offset(at: seconds), 86_400)
    return Double(self.moment(ofLocal: day * 86_400 + time.hour * 3600 + time.minute * 60))
  }

  /// Seconds that local time is ahead of UTC.
  func offset(at moment: Int) -> Int {
    zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(moment)))
  }

  /// Local seconds, counted as if the zone were UTC, to the moment that they mean.
  private func moment(ofLocal local: Int) -> Int {
    // No zone is further from UTC than this, and no two changes of one are closer.
    let reach = 26 * 3600
    let before = offset(at: local - reach)
    let after = offset(at: local + reach)
    if before == after, offset(at: local - before) == before { return local - before }
    // The earlier of two moments has the greater offset.
    for offset in [max(before, after), min(before, after)] where self.offset(at: local - offset) == offset {
      return local - offset
    }
    // Skipped: the first moment whose local time is later.
    var low = local - reach
    var high = local + reach
    while high - low > 1 {
      let middle = (low + high) / 2
      if middle + offset(at: middle) > local { high = middle } else { low = middle }
    }
    return high
  }

  private static func floorDivided(_ value: Int, _ divisor: Int) -> Int {
    let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? quotient - 1 : quotient
  }
}

/// A day of the Gregorian calendar by its number since 1 January 1970.
struct CivilDate: Hashable {
  let year: Int
  let month: Int
  let day: Int
  /// 0 is Sunday.
  let weekday: Int

  /// - Parameter day: Not before 1 March 0000.
  init(day number: Int) {
    // In eras of 400 years whose years begin on 1 March.
    let shifted = number + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    weekday = (number % 7 + 11) % 7
  }
}

/// The keys of `logs`.
struct LogKeys: KeyTable {
  let title = "logs"
  let forbid = Key("forbid", .list(of: .linePattern), "Patterns that no line of the output may match.")
  let require = Key("require", .list(of: .linePattern), "Patterns that some line of the output must match.")

  var keys: [AnyKey] { [forbid.erased, require.erased] }

  static var shape: Shape<LogRules> {
    .object(LogKeys()) { fields, keys, reading in
      let forbid = fields(keys.forbid, &reading) ?? []
      return LogRules(forbid: forbid, require: fields(keys.require, &reading) ?? [])
    }
  }
}

/// The keys of `schedule`.
struct ScheduleKeys: KeyTable {
  let title = "schedule"
  let cron = Key(
    "cron", cronShape, required: true, "Minute, hour, day of month, month, day of week; or @daily and its like.")
  let timezone = Key("timezone", zoneShape, required: true, "IANA name of the time zone: Europe/Berlin, UTC.")
  let missed = Key(
    "missed", word(ScheduleSpec.Missed.self),
    "Times at which `serve` did not run: skip them, run once for all of them (default), or run all.")
  let overlap = Key(
    "overlap", word(ScheduleSpec.Overlap.self),
    "While the last sweep still runs: skip the new one (default), queue it, or cancel the old one.")
  let jitter = Key("jitter", .duration, "Starts up to so much later, each time by another delay; default none.")
  let window = Key("window", .duration, "A sweep that takes longer is stopped and reported as partial.")
  let reportBy = Key("report_by", timeShape, "HH:MM, local: alarm when no report came in the 24 hours before it.")

  var keys: [AnyKey] {
    [
      cron.erased, timezone.erased, missed.erased, overlap.erased, jitter.erased, window.erased, reportBy.erased,
    ]
  }

  static var shape: Shape<ScheduleSpec> {
    .object(ScheduleKeys()) { fields, keys, reading in
      let cron = fields(keys.cron, &reading)
      let timezone = fields(keys.timezone, &reading)
      let missed = fields(keys.missed, &reading) ?? .runOnce
      let overlap = fields(keys.overlap, &reading) ?? .skip
      let jitter = fields(keys.jitter, &reading)
      let window = fields(keys.window, &reading)
      let reportBy = fields(keys.reportBy, &reading)
      guard let cron, let timezone else { return nil }
      return ScheduleSpec(
        cron: cron, timezone: timezone, missed: missed, overlap: overlap, jitter: jitter, window: window,
        reportBy: reportBy)
    }
  }

  private static func word<Word: RawRepresentable<String> & CaseIterable>(_: Word.Type) -> Shape<Word> {
    Shape<String>.word(Word.allCases.map(\.rawValue)).map { text, _, _ in Word(rawValue: text) }
  }

  static var cronShape: Shape<String> {
    Shape<String>.text.map { text, place, reading in
      do throws(CronExpression.Problem) {
        _ = try CronExpression(text)
        return text
      } catch {
        reading.report(place, error.message)
        return nil
      }
    }
  }

  static var timeShape: Shape<ScheduleSpec.TimeOfDay> {
    Shape<String>.text.map { text, place, reading in
      guard let time = ScheduleSpec.TimeOfDay(text) else {
        reading.report(place, "`report_by` must be a time of day such as \"07:00\"")
        return nil
      }
      return time
    }
  }

  static var zoneShape: Shape<String> {
    Shape<String>.text.map { text, place, reading in
      switch ZoneInfo.find(text) {
      case .known: return text
      case .noDatabase:
        reading.report(place, "the time zone cannot be checked: no \(ZoneInfo.directory); install tzdata")
      case .unknown(let nearest):
        reading.report(place, "unknown time zone \"\(text.shortened)\"", suggestion: nearest)
      }
      return nil
    }
  }
}

/// The keys of one entry of `notify`.
struct NotifyKeys: KeyTable {
  let title = "notify"
  let webhook = Key(
    "webhook", .text, "URL that the notice is posted to; one with a secret in it is better named by webhook_env.")
  let webhookEnv = Key("webhook_env", .text, "Environment variable of `serve` that holds the URL.")
  let webhookFile = Key("webhook_file", .text, "File that holds the URL.")
  let email = Key("email", .text, "Address that the notice is mailed to, by sendmail.")
  let command = Key("command", .text, "Command that is run with the notice on standard input.")
  let on = Key(
    "on", .word(["change", "fail", "always"]), "When: the verdict changed (default), it is not PASS, or every time.")
  let format = Key(
    "format", .word(["json", "slack"]), "What is posted: the whole notice (default), or a text that Slack shows.")
  let secretEnv = Key("secret_env", .text, "Environment variable of the key that posts are signed with.")
  let secretFile = Key("secret_file", .text, "File of the key that posts are signed with.")

  var keys: [AnyKey] {
    [
      webhook.erased, webhookEnv.erased, webhookFile.erased, email.erased, command.erased, on.erased, format.erased,
      secretEnv.erased, secretFile.erased,
    ]
  }

  static var shape: Shape<NotifySpec> {
    .object(NotifyKeys()) { fields, keys, reading in
      let webhook = fields(keys.webhook, &reading)
      let email = fields(keys.email, &reading)
      let spec = NotifySpec(
        webhook: webhook, webhookEnv: fields(keys.webhookEnv, &reading),
        webhookFile: fields(keys.webhookFile, &reading), email: email, command: fields(keys.command, &reading),
        on: fields(keys.on, &reading) ?? "change", format: fields(keys.format, &reading),
        secretEnv: fields(keys.secretEnv, &reading), secretFile: fields(keys.secretFile, &reading))
      let ways = [keys.webhook, keys.webhookEnv, keys.webhookFile, keys.email, keys.command]
      if ways.count(where: { fields.has($0) }) != 1 {
        reading.report(
          fields.value.place,
          "a notice has exactly one of the keys webhook, webhook_env, webhook_file, email, command")
      }
      if let webhook, !webhook.hasPrefix("https://"), !webhook.hasPrefix("http://") {
        reading.report(fields.place(keys.webhook), "`webhook` must be a URL with https:// or http://")
      }
      if let email, !email.dropFirst().dropLast().contains("@") || email.contains(" ") {
        reading.report(fields.place(keys.email), "`email` must be an address")
      }
      if spec.secretEnv != nil, spec.secretFile != nil {
        reading.report(fields.value.place, "a notice has at most one of the keys secret_env, secret_file")
      }
      return spec
    }
  }
}

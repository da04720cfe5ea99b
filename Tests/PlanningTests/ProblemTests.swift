import Foundation
import Planning
import TestSupport
import Testing

/// One bad job file a case, with the exact place and words of what is said.
@Suite struct ProblemTests {
  /// Which a process could not be started with.
  @Test func textsThatAreTooLongAreFoundBeforeAnythingRuns() throws {
    let long = String(repeating: "x", count: 200_000)
    #expect(
      problems("name: t\nrun:\n  command: a\n  env:\n    A: 1\n    B: \(long)\n")
        == ["6:8: `B` has 200000 bytes; at most 98304 can be handed to a process: put it into a file"])
    #expect(
      problems("name: t\nrun:\n  command: \(long)\n")
        == ["3:12: `command` has 200000 bytes; at most 98304 can be handed to a process: put it into a file"])
    #expect(
      problems(
        "name: t\nmatrix: {a: [1, 2]}\nrun: {command: b}\noverrides: [{when: {a: 2}, run: {env: {C: \(long)}}}]\n")
        == ["4:43: `C` has 200000 bytes; at most 98304 can be handed to a process: put it into a file"])
    let most = String(long.prefix(98_304))
    #expect(problems("name: t\nrun:\n  command: a\n  env:\n    A: \(most)\n") == [])
    // Values of axes are variables of every run.
    let tooLong = "the value has 200000 bytes; at most 98304 can be handed to a process: put it into a file"
    #expect(problems("name: t\nmatrix: {a: [1, \(long)]}\nrun: {command: b}\n") == ["2:17: \(tooLong)"])
    #expect(
      problems("name: t\nmatrix: {a: [1], include: [{a: 1, b: \(long)}]}\nrun: {command: b}\n")
        == ["2:38: \(tooLong)"])
    // Each may go, and all together may not.
    let many = (1...10).map { "    A\($0): \"${{ a }}\"\n" }.joined()
    #expect(
      problems("name: t\nmatrix:\n  a: [1, \(most)]\nrun:\n  command: b\n  env:\n\(many)") == [
        "7:5: the command and all values of `env`, axes included, have 1081345 bytes together; "
          + "at most 1048576 can be handed to a process: use a file"
      ])
  }

  @Test func whatAFleetAddsToEveryRunIsNotTooLong() {
    func said(_ text: String) -> [String] {
      do {
        _ = try FleetReader.read(text: text, path: "fleet.yaml")
        return []
      } catch {
        return error.problems.map { "\($0.line):\($0.column): \($0.message)" }
      }
    }
    let long = String(repeating: "x", count: 98_305)
    let most = String(long.dropLast())
    let tooLong = "the value has 98305 bytes; at most 98304 can be handed to a process: put it into a file"
    let many = (1...6).map { "A\($0): \(most)" }.joined(separator: ", ")
    let tooMany =
      "the values of `env` have 589824 bytes together; at most 524288 can be handed to a process: use a file"
    for (head, tail) in [("hosts: [{name: a, local: true, env: {", "}}]"), ("launcher: slurm\nenv: {", "}")] {
      let line = head.filter { $0 == "\n" }.count + 1
      let column = head.split(separator: "\n").last?.count ?? 0
      #expect(said("\(head)A: \(most)\(tail)\n") == [])
      #expect(said("\(head)A: \(long)\(tail)\n") == ["\(line):\(column + 4): \(tooLong)"])
      #expect(said("\(head)\(many)\(tail)\n") == ["\(line):\(column): \(tooMany)"])
    }
  }

  @Test(
    arguments: [
      ("", "1:1: the file is empty"),
      ("# only a comment\n", "1:1: the file is empty"),
      ("- a\n", "1:1: `job file` must be a mapping, not a list"),
      ("text\n", "1:1: `job file` must be a mapping, not the text \"text\""),
      ("name: t\n", "1:1: `job file` needs the key `run`"),
      ("name: t\nrun: {}\n", "2:6: `run` needs the key `command`"),
      ("name: t\nrnu: {}\nrun: {command: a}\n", "2:1: unknown key `rnu` in `job file` [run]"),
      // What hangs on a misspelt section is not wrong as well.
      (
        "name: t\nmatirx: {a: [1, 2]}\nrun: {command: \"x ${{ a }}\"}\noverrides: [{when: {a: 1}, run: {gpus: 1}}]\n",
        "2:1: unknown key `matirx` in `job file` [matrix]"
      ),
      (
        "name: t\nmatrix: {a: [1, 2]}\nrun: {command: x}\ndmups: {directory: d}\ncompare: {reference: {a: 1}}\n",
        "4:1: unknown key `dmups` in `job file` [dumps]"
      ),
      ("name: t\nrun: {command: a, gpu: 1}\n", "2:19: unknown key `gpu` in `run` [gpus]"),
      ("name: t\nrun: {command: a, zzz: 1}\n", "2:19: unknown key `zzz` in `run`"),
      ("name: t\nrun: {command: a, stall-timeout: 1}\n", "2:19: unknown key `stall-timeout` in `run` [stall_timeout]"),
      ("name: 8\nrun: {command: a}\n", nameProblem("1:7", "the number 8")),
      ("name: a/b\nrun: {command: a}\n", nameProblem("1:7", "the text \"a/b\"")),
      ("name:\nrun: {command: a}\n", nameProblem("1:1", "nothing")),
      ("name: t\nname: u\nrun: {command: a}\n", "2:1: the key `name` appears twice; first on line 1"),
      (
        "name: t\nrun:\n  command: a\n  env:\n    A: 1\n  command: b\n",
        "6:3: the key `command` appears twice; first on line 3"
      ),
      ("name: t\nrun: {command: a, command: b}\n", "2:7: the key `command` appears twice"),
      ("name: t\nrun: {command: [a, b]}\n", "2:16: expected text, found a list"),
      ("name: t\nrun: {command: 8}\n", "2:16: expected text, found the number 8"),
      ("name: t\nrun: {command: true}\n", "2:16: expected text, found true"),
      ("name: t\nrun: {command: \"\"}\n", "2:16: expected text, found the text \"\""),
      (
        "name: t\nrun: {command: a, gpus: many}\n",
        "2:25: expected a whole number from 0 to 4096, found the text \"many\""
      ),
      ("name: t\nrun: {command: a, gpus: -1}\n", "2:25: expected a whole number from 0 to 4096, found the number -1"),
      ("name: t\nrun: {command: a, gpus: 1.5}\n", "2:25: expected a whole number from 0 to 4096, found the number 1.5"),
      (
        "name: t\nrun: {command: a, gpus: \"8\"}\n",
        "2:25: expected a whole number from 0 to 4096, found the text \"8\""
      ),
      ("name: t\nrun: {command: a, timeout: soon}\n", durationProblem("2:28", "the text \"soon\"")),
      ("name: t\nrun: {command: a, timeout: 0}\n", durationProblem("2:28", "the number 0")),
      ("name: t\nrun: {command: a, timeout: 5m3h}\n", durationProblem("2:28", "the text \"5m3h\"")),
      ("name: t\nrun: {command: a, timeout: -5}\n", durationProblem("2:28", "the number -5")),
      (
        "name: t\nrun: {command: a, env: {2X: 1}}\n",
        "2:25: `2X` cannot name an environment variable: letters, digits and _, no digit first"
      ),
      (
        "name: t\nrun: {command: a, env: {ROLLCALL_RUN: 1}}\n",
        "2:25: `ROLLCALL_RUN`: names that begin with ROLLCALL_ are set by Rollcall"
      ),
      (
        "name: t\nrun: {command: a, env: {A: }}\n",
        "2:25: expected text, a number, true or false (an empty text is \"\"), found nothing"
      ),
      ("name: t\nrepeat: 0\nrun: {command: a}\n", "2:9: expected a whole number from 1 to 1000, found the number 0"),
      (
        "name: t\nrun: {command: a}\ndumps: {layout: atomm}\n",
        "3:17: expected one of atom, sglang, weights, msprobe, hf, safetensors, npy, custom, found \"atomm\" [atom]"
      ),
      ("name: t\nrun: {command: a}\ndumps: {slots: 4}\n", "3:8: `dumps` needs the key `layout`"),
      (
        "name: t\nrun: {command: a}\ndumps: {layout: atom, select: warmup}\n",
        "3:31: expected prefill, decode, warm-up or a call number, found \"warmup\" [warm-up]"
      ),
      (
        "name: t\nrun: {command: a}\ndumps: {layout: atom, expect: {layers: 9-3}}\n",
        "3:40: expected layers such as 0-15, 0,3 or [0-3, 7], found the text \"9-3\""
      ),
      ("name: t\nrun: {command: a}\ndumps: {layout: custom}\n", "3:17: layout custom needs the key `pattern`"),
      (
        "name: t\nrun: {command: a}\ndumps: {layout: custom, pattern: \"x(?<layer>.)\"}\n",
        "3:34: `pattern` needs a named group (?<rank>…)"
      ),
      (
        "name: t\nrun: {command: a}\ndumps: {layout: atom, pattern: \"(?<rank>.)\"}\n",
        "3:32: `pattern` belongs to layout custom, not atom"
      ),
      (
        "name: t\nrun: {command: a}\nnotify: [{webhook: example.org}]\n",
        "3:20: `webhook` must be a URL with https:// or http://"
      ),
      (
        "name: t\nrun: {command: a}\nnotify: [{on: fail}]\n",
        "3:10: a notice has exactly one of the keys webhook, webhook_env, webhook_file, email, command"
      ),
      (
        "name: t\nrun: {command: a}\nnotify: [{email: a@b.c, on: changed}]\n",
        "3:29: expected one of change, fail, always, found \"changed\" [change]"
      ),
      ("name: t\nrun: {command: a}\nschedule: {cron: \"* * * * *\"}\n", "3:11: `schedule` needs the key `timezone`"),
      (
        "name: t\nrun: {command: a}\nschedule: {cron: \"0 0 * * *\", timezone: Europe/Berlim}\n",
        "3:41: unknown time zone \"Europe/Berlim\" [Europe/Berlin]"
      ),
      (
        "name: t\nrun: {command: a}\nschedule: {cron: \"0 0 * * *\", timezone: ../../../etc/passwd}\n",
        "3:41: unknown time zone \"../../../etc/passwd\""
      ),
      (
        "name: t\nrun: {command: a}\nmatrix: {a: [1, 2]}\ncompare: {reference: {a: 1}}\n",
        "4:10: `compare` needs the section `dumps`"
      ),
      (
        "name: t\nrun: {command: a}\noverrides: [{when: {a: 1}, run: {gpus: 1}}]\n",
        "3:21: unknown axis `a`"
      ),
      ("name: t\nrun: {command: \"a ${{ x }}\"}\n", unknownName("2:19", "x")),
      (
        "name: t\nrun:\n  command: |\n    echo a\n    echo ${{ rnu_dir }}\n",
        unknownName("5:10", "rnu_dir", " [run_dir]")
      ),
      (
        "name: t\nrun:\n  command: >-\n    echo ${{ run }}\n    ${{ dump_dri }} ${{ host }}\n",
        unknownName("5:5", "dump_dri", " [dump_dir]")
      ),
      ("name: t\nrun: {command: \"a ${{ x \"}\n", "2:19: ${{ without }}"),
      ("name: t\nrun: {command: \"a ${{ }}\"}\n", "2:19: ${{ }} names nothing"),
      (
        "name: t\nrun: {command: a, gpus: \"${{ attempt }}\"}\n",
        "2:26: ${{ attempt }} is known only at launch: it can stand in `command` and `env`"
      ),
      ("name: t\nrun: {command: a, env: {\"${{ x }}\": 1}}\n", "2:25: ${{ }} cannot be part of a key"),
      (
        "name: t\nrun: {command: a}\nlogs: {forbid: [\"${{ run }}\"]}\n",
        "3:17: ${{ }} is replaced in `run` and `dumps` only"
      ),
      (
        "name: t\nrun: {command: a, files: [/etc/passwd]}\n",
        "2:27: /etc/passwd: files are named relative to the job file"
      ),
    ])
  func saysWhatIsWrongAndWhere(text: String, problem: String) {
    #expect(problems(text) == [problem])
  }

  static func nameProblem(_ place: String, _ found: String) -> String {
    "\(place): expected a name of letters, digits, dot, dash and underscore (at most 100, a letter or digit first), "
      + "found \(found)"
  }

  static func durationProblem(_ place: String, _ found: String) -> String {
    "\(place): expected a duration such as 30m, 10s, 1h30m, 2d or a number of seconds, found \(found)"
  }

  static func unknownName(_ place: String, _ name: String, _ suggestion: String = "") -> String {
    "\(place): unknown name `\(name)` in ${{ }}: known are dump_dir, run_dir, run, sweep, attempt, host, repeat"
      + suggestion
  }

  @Test(
    arguments: [
      ("a: [1\n", "2:1"), ("a: b: c\n", "1:5"), ("a: \"x\n", "2:1"), ("a: %x\n", "1:4"), ("a: &x 1\nb: *y\n", "2:4"),
      ("a: 1\n b: 2\n", "2:3"), ("name: t\n---\nname: u\n", "2:1"),
    ])
  func namesThePlaceOfASyntaxError(text: String, place: String) {
    #expect(problems(text).count == 1)
    #expect(problems(text).first?.hasPrefix(place + ": ") == true, "\(problems(text))")
    do {
      _ = try Planner.plan(text: text, path: "dir/job.yaml")
    } catch {
      #expect(error.description.hasPrefix("dir/job.yaml:\(place): "))
    }
  }

  @Test func aTabIsCalledATab() {
    #expect(problems("name: t\nrun:\n\tcommand: a\n") == ["3:1: a tab cannot indent YAML; use spaces"])
  }

  @Test func allProblemsAreSaidAtOnceInTheOrderOfTheFile() {
    let text = """
      name: t
      repeat: none
      run:
        comand: a
        gpus: x
        env: {1A: x}
      dumps: {layout: foo, select: bar}
      logs: {forbid: ["("]}
      schedule: {cron: "61 * * * *", timezone: UTC}
      notifi: []
      """
    let found = problems(text)
    #expect(
      found.map { String($0.prefix { $0 != " " }) } == [
        "2:9:", "4:3:", "5:9:", "6:9:", "7:17:", "7:30:", "8:17:", "9:18:", "10:1:",
      ])
    // Once, not as a missing key, too.
    #expect(found.contains("4:3: unknown key `comand` in `run` [command]"))
    #expect(found.contains("9:18: cron field minute: \"61\" is not from 0 to 59"))
    #expect(found.contains("10:1: unknown key `notifi` in `job file` [notify]"))
  }

  /// Lines of logs are looked through by ICU's expressions, names by Swift's.
  @Test(arguments: [
    ("logs: {forbid: ['(?P<what>nan)']}", "5:17: not a regular expression", "(?<name>"),
    ("logs: {require: ['done {3']}", "5:18: not a regular expression", "\\{"),
    ("logs: {forbid: ['(?<!no )nan', '\\{a\\}']}", nil, ""),
    ("dumps: {layout: custom, pattern: '(?<=L)(?<rank>[0-9]+).pt'}", "5:34: not a regular expression", "lookbehind"),
    ("compare: {reference: {a: 1}, shard: {'(?<=L)x': partial}}", "5:38: `(?<=L)x` is not a regular", "lookbehind"),
  ])
  func anExpressionIsCheckedByTheEngineThatRunsIt(line: String, problem: String?, hint: String) {
    let found = problems("name: t\nmatrix: {a: [1, 2]}\nrun:\n  command: a ${{ a }}\n\(line)\n")
    guard let problem else {
      #expect(found == [])
      return
    }
    #expect(found.contains { $0.hasPrefix(problem) && $0.contains(hint) }, "\(found)")
  }

  @Test func pathsNameTheKeys() {
    do {
      _ = try Planner.plan(
        text: "name: t\nmatrix: {a: [1], exclude: [{a: 2}]}\nrun: {command: a, env: {X: []}}\n", path: "j")
      Issue.record("should be refused")
    } catch {
      #expect(error.code == .invalid)
      #expect(error.problems.map(\.path) == ["matrix.exclude[0].a", "run.env.X"])
    }
  }

  @Test func aliasesAreBounded() {
    var text = "name: t\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...9 {
      text += "a\(level): &a\(level) [\((0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ", "))]\n"
    }
    let found = problems(text)
    #expect(found.count == 1)
    #expect(found.first?.hasSuffix("more than 100000 values once aliases are expanded") == true)
    #expect(
      problems("name: t\nrun: &r {command: a}\noverrides: [{when: {a: 1}, run: *r}]\nmatrix: {a: [1, 2]}\n") == [])
  }

  @Test(arguments: ["k: {? *a9 : 1}", "*a9 : 1", "k: {*a9 : 1}", "k: {[*a9]: 1}", "? - *a9\n: 1", "k: {{*a9 : 1}: 2}"])
  func aliasesAreBoundedInKeysToo(key: String) {
    var text = "name: t\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...9 {
      text += "a\(level): &a\(level) [\((0..<10).map { _ in "*a\(level - 1)" }.joined(separator: ", "))]\n"
    }
    let found = problems(text + key + "\n")
    #expect(found.count == 1)
    #expect(
      found.first?.hasPrefix("12:") == true && found.first?.hasSuffix(": a key must be plain text") == true, "\(found)")
  }

  @Test func starsAndAmpersandsInCommandsAreJustText() throws {
    let plan = try Planner.plan(
      text: "name: t\nrun:\n  command: |\n    rm -f *log *.pt 2>&1 &wait *a\n    case $x in *foo) ls **;; esac *\n",
      path: "j")
    #expect(plan.cells[0].run.command == "rm -f *log *.pt 2>&1 &wait *a\ncase $x in *foo) ls **;; esac *\n")
  }

  @Test func nestingIsBounded() {
    let deep = String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
    #expect(problems("name: \(deep)\n") == ["1:71: nested deeper than 64 levels"])
    let absurd = String(repeating: "[", count: 200_000)
    #expect(problems("name: \(absurd)\n").count == 1)
  }

  @Test func aByteOrderMarkIsNoText() throws {
    let mark = "\u{FEFF}"
    #expect(problems("\(mark)name: t\nrun: {command: a}\n") == [])
    #expect(problems("\(mark)name: 8\nrun: {command: a}\n") == [Self.nameProblem("1:7", "the number 8")])
    #expect(problems("\(mark)a: &a x\nname: t\nrun: {command: a}\n") == ["1:1: unknown key `a` in `job file`"])
    #expect(problems("\(mark)\(mark)name: t\nrun: {command: a}\n") != [])
    #expect(problems(mark) == ["1:1: the file is empty"])
    #expect(try FleetReader.read(text: "\(mark)hosts: [{name: a, local: true}]", path: "f").hosts.map(\.name) == ["a"])
  }

  @Test func textWithControlCharactersIsRefused() {
    #expect(
      problems("name: t\nrun: {command: \"a \\x01rdump_dir\\x02\"}\n") == ["2:16: the text has control characters"])
  }

  @Test func unreadableFilesAreNamed() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    func said(_ path: String) -> String {
      do {
        _ = try Planner.plan(jobFile: path)
        return ""
      } catch { return "\(error.code.rawValue) \(error.description)" }
    }
    let missing = scratch.path + "/none.yaml"
    #expect(said(missing) == "unreadable \(missing): cannot be read: No such file or directory")
    #expect(said(scratch.path) == "unreadable \(scratch.path): is not a file")
    #expect(said("/dev/zero") == "unreadable /dev/zero: is not a file")
    let large = try scratch.write("large.yaml", String(repeating: "#", count: (1 << 20) + 1))
    #expect(said(large) == "unreadable \(large): is 1048577 bytes; at most 1048576 are read")
    let latin = scratch.path + "/latin.yaml"
    try Data("name: t\n# caf".utf8 + [0xE9, 0x0A]).write(to: URL(fileURLWithPath: latin))
    #expect(said(latin) == "unreadable \(latin): is not UTF-8 (line 2)")
  }

  @Test func shippedFilesAreChecked() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("a/x.py", "1")
    try scratch.write("b/x.py", "2")
    try FileManager.default.createDirectory(atPath: scratch.path + "/dir", withIntermediateDirectories: true)
    let large = FileManager.default.createFile(atPath: scratch.path + "/large.bin", contents: nil)
    #expect(large)
    try FileHandle(forWritingTo: URL(fileURLWithPath: scratch.path + "/large.bin")).truncate(atOffset: 64 << 20 + 1)
    let job = try scratch.write(
      "job.yaml",
      """
      name: t
      run:
        command: a
        files:
          - a/x.py
          - b/x.py
          - missing.py
          - dir
          - large.bin
          - a/x.py
          - ""
      """)
    do {
      _ = try Planner.plan(jobFile: job)
      Issue.record("should be refused")
    } catch {
      // An empty name is refused by its type, before the disk is asked.
      #expect(
        error.problems.map { "\($0.line):\($0.column): \($0.message)" } == ["11:7: expected text, found the text \"\""])
    }
    let checked = try scratch.write(
      "job.yaml", "name: t\nrun: {command: a, files: [a/x.py, b/x.py, missing.py, dir, large.bin, b/x.py]}\n")
    do {
      _ = try Planner.plan(jobFile: checked)
      Issue.record("should be refused")
    } catch {
      #expect(
        error.problems.map { "\($0.column): \($0.message)" } == [
          "35: a/x.py and b/x.py would both be files/x.py in the run directory",
          "43: the file missing.py does not exist in \(scratch.path)", "55: dir is not a file",
          "60: the file large.bin has 67108865 bytes; at most 67108864 are shipped",
          "71: the file b/x.py is listed twice",
        ])
    }
  }

  @Test(
    arguments: [
      ("30 2 * * *", nil), ("*/15 0-6,22 1 jan-mar sun", nil), ("0 0 * * 7", nil), ("@daily", nil),
      ("0-30/5 * * * *", nil),
      ("* * * *", "a cron expression has five fields (minute hour day-of-month month day-of-week), this has 4"),
      ("0 24 * * *", "cron field hour: \"24\" is not from 0 to 23"),
      ("0 0 0 * *", "cron field day of month: \"0\" is not from 1 to 31"),
      ("0 0 * foo *", "cron field month: \"foo\" is not from 1 to 12"),
      ("5-1 * * * *", "cron field minute: \"5-1\" runs backwards"),
      ("*/0 * * * *", "cron field minute: \"*/0\" has no step from 1 to 59 after the /"),
      ("1,, * * * *", "cron field minute: \"\" is not from 0 to 59"),
      (
        "@nightly",
        "unknown cron word @nightly; known are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually"
      ),
    ] as [(String, String?)])
  func cronFieldsAreChecked(cron: String, problem: String?) {
    let found = problems("name: t\nrun: {command: a}\nschedule: {cron: \"\(cron)\", timezone: UTC}\n")
    #expect(found == (problem.map { ["3:18: \($0)"] } ?? []))
  }
}

import Foundation
import Glibc
import TestSupport
import Testing

/// Where nobody has set HOME: under a service manager, in a container.
@Suite(.timeLimit(.minutes(2))) struct HomelessTests {
  @Test(arguments: ["-u", "HOME="])
  func runsGoOnThisMachine(change: String) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try scratch.write("job.yaml", "name: homeless\nrun: {command: 'echo \"at home in $HOME\"'}\n")
      let environment = ["ROLLCALL_STORE": scratch.path("store"), "ROLLCALL_FLEET": scratch.path("fleet.yaml")]
      let words = (change == "-u" ? ["-u", "HOME"] : [change]) + [try RollcallBinary.path]
      let run = try await runTool(
        "env", words + ["run", "job.yaml"], environment: environment, directory: scratch.path, mustSucceed: false)
      #expect(run.status == 2, "\(run.errorOutput)")
      let home = try #require(getpwuid(geteuid()).map { String(cString: $0.pointee.pw_dir) })
      let logs = try await runTool("env", words + ["logs"], environment: environment, directory: scratch.path)
      #expect(logs.output == "at home in \(home)\n")
    }
  }

  /// SQLite's own words name neither what is closed nor what to do.
  @Test(.enabled("needs the right to become another user (root)", { geteuid() == 0 }))
  func aStoreThatIsClosedToTheUserSaysWhatToDo() async throws {
    try await Scratch.with { scratch in
      try scratch.write("job.yaml", "name: closed\nrun: {command: 'echo hi'}\n")
      let store = scratch.path("store")
      let binary = try RollcallBinary.path
      let run = try await runTool(
        binary, ["run", "job.yaml", "--store", store], directory: scratch.path, mustSucceed: false)
      #expect(run.status == 2, "\(run.errorOutput)")
      try await runTool("chmod", ["-R", "a-w,a+rX", store])
      let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=\(scratch.path)", binary]
      for verb in [["status"], ["report", "last"], ["logs"], ["history", "closed"]] {
        let outcome = try await runTool("setpriv", user + verb + ["--store", store], mustSucceed: false)
        #expect(outcome.status == 69, "\(verb)")
        #expect(
          outcome.errorOutput.contains("\(store) may not be written to by this user")
            && outcome.errorOutput.contains("copy the store"), "\(verb): \(outcome.errorOutput)")
      }
    }
  }
}

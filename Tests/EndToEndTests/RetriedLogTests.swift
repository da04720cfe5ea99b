import Foundation
import TestSupport
import Testing

/// Who follows a run that is tried again.
@Suite(.timeLimit(.minutes(4))) struct RetriedLogTests {
  @Test func theNextTryIsAnnouncedAndBeginsItsOwnLine() async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, gpus: 0, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      // The first try loses its supervisor in the middle of a line; the second one is silent at first.
      try scratch.write(
        "work.sh",
        """
        if [ "$ROLLCALL_ATTEMPT" = 1 ]; then
          printf 'cut short'
          touch "$PLACE/begun"
          until [ -e "$PLACE/go" ]; do sleep 0.1; done
          kill -9 $(cut -d ' ' -f 2 ../identity)
          sleep 60
        fi
        sleep 3
        echo whole

        """)
      try scratch.write(
        "job.yaml",
        """
        name: again
        run: {command: sh work.sh, files: [work.sh], env: {PLACE: \(scratch.path)}, gpus: 0, retries: 1}
        """)
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      async let running = rollcall("run", "job.yaml")
      while scratch.text("begun") == nil { try await Task.sleep(for: .milliseconds(50)) }
      async let following = rollcall("logs", "--both", "--follow")
      // Long enough for what was begun to be read.
      try await Task.sleep(for: .seconds(3))
      try scratch.write("go", "")
      let told = try await following
      _ = try await running
      #expect(
        told.output.split(separator: "\n").filter { $0.contains("out |") } == [
          "run out | cut short", "run out | whole",
        ],
        "\(told.output)")
      #expect(told.errorOutput.contains("run was tried again; its output begins anew"), "\(told.errorOutput)")
    }
  }
}

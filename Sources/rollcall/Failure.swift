import Alignment
import ArgumentParser
import Coordination
import Dashboard
import Dumps
import Foundation
import Gathering
import Launching
import Ledger
import Planning
import Playbooks
import Reporting
import Transports

/// Every error that reaches the command line becomes one clear message and one exit code (DESIGN, contract 7).
enum Failure {
  static let usage: Int32 = 64
  static let unreadableInput: Int32 = 65
  static let unavailable: Int32 = 69
  static let ownFault: Int32 = 70
  static let detached: Int32 = 130

  static func exit(_ error: any Error, command: (any ParsableCommand.Type), json: Bool) -> Never {
    var error = error
    if let code = error as? ExitCode {
      // An answer that nobody got is none.
      guard let failure = Console.outputFailure else { Foundation.exit(code.rawValue) }
      error = failure
    }
    // ArgumentParser's own: help and validation. It calls all others a failure.
    if command.exitCode(for: error) != .failure { exitOfParser(error, command: command, json: json) }
    let (code, status, message) = describe(error)
    if json { printDocument(code, message) }
    Console.error("rollcall: \(message)")
    Foundation.exit(status)
  }

  /// Help, which is none, and what is wrong with the command line.
  static func exitOfParser(_ error: any Error, command: (any ParsableCommand.Type), json: Bool) -> Never {
    if json, !command.exitCode(for: error).isSuccess { printDocument("usage", command.message(for: error)) }
    command.exit(withError: error)
  }

  private static func printDocument(_ code: String, _ message: String) {
    let document = ["error": ["code": code, "message": message]]
    if let data = try? JSONSerialization.data(withJSONObject: document, options: [.sortedKeys]) {
      Console.print(String(decoding: data, as: UTF8.self))
    }
  }

  static func describe(_ error: any Error) -> (code: String, status: Int32, message: String) {
    switch error {
    case let error as PlanningError: ("job-file", unreadableInput, error.description)
    case let error as DumpError: (error.code.rawValue, unreadableInput, error.description)
    case let error as LaunchError: (error.code.rawValue, unavailable, error.description)
    case let error as TransportError: (error.code.rawValue, unavailable, error.description)
    case let error as LedgerError:
      switch error.code {
      case .notFound: (error.code.rawValue, usage, error.message)
      case .damaged: (error.code.rawValue, unreadableInput, error.message)
      case .unusable, .locked, .diskFull: (error.code.rawValue, unavailable, error.message)
      }
    case let error as ReportError: (error.code.rawValue, unreadableInput, error.description)
    case let error as AlignmentError: (error.code.rawValue, unreadableInput, error.description)
    case let error as MeasureFileError:
      (error.code.rawValue, error.code == .unwritable ? unavailable : unreadableInput, error.description)
    case let error as DashboardError: (error.code.rawValue, usage, error.message)
    case let error as GatheringError: (error.code.rawValue, unavailable, error.description)
    case let error as PlaybookError: ("job-file", unreadableInput, error.description)
    case let error as UsageError: ("usage", usage, error.message)
    case let error as InputError: ("input", unreadableInput, error.message)
    case let error as OutputError: ("output", unavailable, error.message)
    case is CancellationError: ("cancelled", detached, "interrupted")
    default: ("internal", ownFault, "This should not have happened, please report it: \(error)")
    }
  }
}

/// The command line asks for what is not there.
struct UsageError: Error {
  var message: String
}

/// A file given by the user cannot be read as what it should be.
struct InputError: Error {
  var message: String
}

/// A file cannot be written.
struct OutputError: Error {
  var message: String
}

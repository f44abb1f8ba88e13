# Makes Docker on this Windows machine trust the registry @REGISTRY@.
# README.txt beside it says how it is used.
param([string]$Action = "", [switch]$RemoveOld)
$ErrorActionPreference = "Stop"

# As in image references, but without the colon, which Windows allows in no folder's name.
$names = @(@WINDOWS_NAMES@)
# Of ca.pem.
$sha256 = '@SHA256@'
# The CA's file, and another name for where somebody has one of that name.
$files = @(@WINDOWS_FILES@)
# How the first line of every file begins that is written here, and that line.
$markBegin = '@MARK_BEGIN@'
$mark = '@MARK_BEGIN@0@MARK_END@'

if (@("check", "install", "remove") -notcontains $Action) {
  Write-Output "usage: windows.ps1 check | install | remove  [-RemoveOld]"
  exit 2
}

# The certificate. Nothing but what was checked here is used.
$ca = Join-Path $PSScriptRoot "ca.pem"
if (-not (Test-Path -LiteralPath $ca)) {
  Write-Output "There is no ca.pem beside this script: unpack the whole kit."
  exit 4
}
$pem = [System.IO.File]::ReadAllText($ca)
$hash = [System.Security.Cryptography.SHA256]::Create().ComputeHash([System.Text.Encoding]::ASCII.GetBytes($pem))
$got = [System.BitConverter]::ToString($hash).Replace("-", "").ToLower()
if ($got -ne $sha256) {
  Write-Output "ca.pem is not the certificate that this kit was made with."
  Write-Output "  wanted SHA-256 $sha256"
  Write-Output "  got            $got"
  exit 4
}

# Docker's engine as a service of Windows looks below ProgramData; Docker Desktop takes what is in the user's folder.
$places = @()
$service = Get-Service -Name "docker" -ErrorAction SilentlyContinue
$desktop = Join-Path $env:ProgramFiles "Docker\Docker\Docker Desktop.exe"
if ($service) { $places += Join-Path $env:ProgramData '@WINDOWS_ENGINE@' }
if ((-not $service) -or (Test-Path -LiteralPath $desktop)) { $places += Join-Path $HOME '@WINDOWS_DESKTOP@' }

function Test-Ours([string]$Path) {
  if (-not (Test-Path -LiteralPath $Path -PathType Leaf)) { return $false }
  return [System.IO.File]::ReadAllText($Path).StartsWith($markBegin)
}

# Whether the certificates in the folder hold the CA.
function Test-Holds([string]$Folder) {
  if (-not (Test-Path -LiteralPath $Folder -PathType Container)) { return $false }
  foreach ($path in [System.IO.Directory]::GetFiles($Folder, "*.crt")) {
    if ([System.IO.File]::ReadAllText($path).Contains($pem)) { return $true }
  }
  return $false
}

# Whole or not at all; without a byte order mark, which Docker does not take.
function Write-Whole([string]$Path, [string]$Text) {
  $temporary = "$Path.drydock"
  [void][System.IO.Directory]::CreateDirectory([System.IO.Path]::GetDirectoryName($Path))
  [System.IO.File]::WriteAllText($temporary, $Text, [System.Text.Encoding]::ASCII)
  if (Test-Path -LiteralPath $Path) {
    [System.IO.File]::Replace($temporary, $Path, [NullString]::Value)
  } else {
    [System.IO.File]::Move($temporary, $Path)
  }
}

# Certificates that an earlier kit put there stay, below ours, unless -RemoveOld.
function Install-Ca([string]$Folder, [string]$Ours, [string]$Free) {
  $holds = Test-Holds $Folder
  if (-not $Ours) {
    if ($holds) { return "ok" }
    if (-not $Free) { throw "it holds files of these names that are not drydock's: $files" }
    Write-Whole $Free "$mark`n$pem"
    return "installed"
  }
  if ($holds -and (-not $RemoveOld)) { return "ok" }
  $text = "$mark`n$pem"
  if (-not $RemoveOld) {
    foreach ($line in [System.IO.File]::ReadAllLines($Ours)) {
      if (-not $line.StartsWith("#")) { $text += "$line`n" }
    }
  }
  if ([System.IO.File]::ReadAllText($Ours) -eq $text) { return "ok" }
  Write-Whole $Ours $text
  return "installed"
}

function Remove-Ca([string]$Folder, [string]$Ours) {
  if (-not $Ours) {
    if (Test-Holds $Folder) { return "left" }
    return "not there"
  }
  [System.IO.File]::Delete($Ours)
  if ([System.IO.Directory]::GetFileSystemEntries($Folder).Length -eq 0) { [System.IO.Directory]::Delete($Folder) }
  return "removed"
}

$wanting = 0
$troubles = 0
$changes = 0
foreach ($place in $places) {
  foreach ($name in $names) {
    $folder = Join-Path $place $name
    $ours = ""
    $free = ""
    try {
      foreach ($file in $files) {
        $path = Join-Path $folder $file
        if (Test-Ours $path) {
          if (-not $ours) { $ours = $path }
        } elseif ((-not (Test-Path -LiteralPath $path)) -and (-not $free)) {
          $free = $path
        }
      }
      if ($Action -eq "install") {
        $word = Install-Ca $folder $ours $free
      } elseif ($Action -eq "remove") {
        $word = Remove-Ca $folder $ours
      } elseif (Test-Holds $folder) {
        $word = "ok"
      } else {
        $word = "missing"
        $wanting += 1
      }
      if (@("installed", "removed") -contains $word) { $changes += 1 }
      Write-Output ("{0,-10} {1}" -f $word, $folder)
    } catch {
      $troubles += 1
      Write-Output ("PROBLEM    {0}: {1}" -f $folder, $_.Exception.Message)
    }
  }
}

if ($changes -gt 0) { Write-Output "Restart Docker Desktop, if that is what is here: it reads these files when it starts." }
if ($troubles -gt 0) {
  Write-Output "Not all could be done. Below ProgramData only an administrator may write."
  exit 9
}
if ($wanting -gt 0) {
  Write-Output "Not everything is in place here: install puts that right."
  exit 1
}
exit 0
